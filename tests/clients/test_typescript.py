"""The types that openapi-typescript makes compile strictly, and the example in TypeScript runs."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.browser.following import InNode, interrupt
from tests.browser.restarts import Restarts
from tests.clients.tools import HERE, Node, run
from tests.clients.written import every_call, sent_back
from tests.support.processes import Serving, environment
from tests.support.routes import all_calls
from tests.support.tree import ROOT

TOUR = """\
Payments has 1 secret
API_KEY has 15 characters
the repository belongs to project 1
the name is Payments 2
somebody was faster: the present tag is "v2"
run 1 is still run 1: replayed
run 1: Add a dark mode
run 2: Add a light mode
run 3: Add a quiet mode
run 1 is completed
"""


@pytest.fixture(scope="module")
def compiled(node: Node, example: Path) -> Path:
    """The example, compiled together with programs that use every operation."""
    source = example / "src"
    (source / "every_call.ts").write_text(every_call(), encoding="utf-8")
    (source / "sent_back.ts").write_text(sent_back(), encoding="utf-8")
    for name in ("contract", "trial"):
        text = (HERE / f"{name}.ts.txt").read_text(encoding="utf-8")
        (source / f"{name}.ts").write_text(text, encoding="utf-8")
    node.run("tsc", cwd=example)
    return example / "dist"


def test_every_operation_compiles(compiled: Path) -> None:
    calls = (compiled / "every_call.js").read_text(encoding="utf-8").count("await client.")
    assert calls >= len(all_calls()) > 70
    assert (compiled / "sent_back.js").read_text(encoding="utf-8").count("takes(") > 8
    assert (compiled / "contract.js").is_file()


def test_the_tour_has_the_calls_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    session = readme[readme.index("## A first session") : readme.index("## The structure")]
    paths = re.findall(r"\$STRONGROOM_URL(/api\S*)", session)
    assert len(paths) == 4
    tour = (ROOT / "examples" / "typescript" / "src" / "tour.ts").read_text(encoding="utf-8")
    for path in paths:
        template = path.replace("projects/1", "projects/{project_id}")
        template = template.replace("acme/payments", "{owner}/{repo}").replace("API_KEY", "{key}")
        assert f'"{template}"' in tour, path


def test_the_tour_runs(node: Node, compiled: Path, tmp_path: Path) -> None:
    with Serving(tmp_path / "data", env=environment()) as serving:
        env = {"STRONGROOM_URL": serving.url, "STRONGROOM_TOKEN": serving.token}
        assert run(node.path, compiled / "tour.js", cwd=tmp_path, env=env) == TOUR


def test_requests_are_sent_again_without_a_second_effect(
    node: Node, compiled: Path, tmp_path: Path
) -> None:
    with Serving(tmp_path / "data", env=environment()) as serving:
        env = {"STRONGROOM_URL": serving.url, "STRONGROOM_TOKEN": serving.token}
        told = run(node.path, compiled / "trial.js", cwd=tmp_path, env=env)
        assert told.splitlines()[-1] == "done", told


@contextmanager
def following(node: Node, compiled: Path, service: Restarts) -> Iterator[InNode]:
    """The example that follows all events."""
    process = subprocess.Popen(
        [node.path, compiled / "follow.js"],
        env={**os.environ, "STRONGROOM_URL": service.url, "STRONGROOM_TOKEN": service.token},
        stdout=subprocess.PIPE,
        text=True,
    )
    follower = InNode(process)
    try:
        yield follower
    finally:
        follower.end()


def test_the_stream_tells_each_event_once(node: Node, compiled: Path, tmp_path: Path) -> None:
    with (
        Restarts(tmp_path / "data") as service,
        following(node, compiled, service) as follower,
    ):
        interrupt(service, follower, signal.SIGKILL)
