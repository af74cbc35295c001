"""openapi-python-client makes a client of openapi.json that is strictly typed and works."""

import os
import re
from pathlib import Path

import pytest

from tests.clients.tools import HERE, run, run_with_errors
from tests.support.processes import Serving, environment
from tests.support.routes import all_calls
from tests.support.tree import ROOT

JSON, LINES = "application/json", "application/x-ndjson"
UNSUPPORTED = {
    (str(call), kind)
    for call in all_calls()
    for part, kinds in (
        (call.operation.get("requestBody", {}), None),
        (call.responses.get("200", {}), {LINES}),
    )
    for kind in part.get("content", {})
    if (kind != JSON if kinds is None else kind in kinds)
}
"""Bodies that are not JSON, and answers in lines: the generator leaves them out, and says so."""


@pytest.fixture(scope="module")
def generated(generators: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the generated client, and what the generator said."""
    folder = tmp_path_factory.mktemp("python") / "client"
    # It formats what it has made with the ruff beside it.
    path = {"PATH": f"{generators}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "1000"}
    options = ("generate", "--path", ROOT / "openapi.json", "--output-path", folder)
    program = generators / "openapi-python-client"
    _, warnings = run_with_errors(program, *options, cwd=folder.parent, env=path)
    return folder, warnings


def test_the_generator_understands_all_but_media_types_that_it_does_not_know(
    generated: tuple[Path, str],
) -> None:
    _, told = generated
    warnings = re.findall(
        r"^WARNING parsing (\S+ \S+) within .*\n+.*Unsupported content.type:? ([\w/+.-]+)",
        told,
        re.MULTILINE,
    )
    assert ("POST /api/logs", LINES) in UNSUPPORTED
    assert set(warnings) == UNSUPPORTED, told
    assert len(re.findall(r"^(?:WARNING|ERROR)", told, re.MULTILINE)) == len(UNSUPPORTED), told


def test_every_operation_has_a_function(generated: tuple[Path, str]) -> None:
    folder, _ = generated
    made = {file.stem for file in (folder / "strongroom_client" / "api").glob("*/*.py")}
    wanted = {
        re.sub("([A-Z])", r"_\1", call.operation["operationId"]).lower() for call in all_calls()
    }
    assert wanted <= made


def test_it_is_strictly_typed_and_has_the_first_session(
    generators: Path, generated: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = generated
    session = folder / "first_session.py"
    session.write_text((HERE / "first_session.py.txt").read_text(encoding="utf-8"))
    cache = f"--cache-dir={tmp_path / 'mypy'}"
    run(generators / "mypy", "--strict", cache, "strongroom_client", session.name, cwd=folder)
    with Serving(tmp_path / "data", env=environment()) as serving:
        env = {"STRONGROOM_URL": serving.url, "STRONGROOM_TOKEN": serving.token}
        assert run(generators / "python", session, cwd=folder, env=env) == "done\n"
