"""A wheel beside another program, whose modules have the names of the server's."""

import json
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from strongroom._own_modules import NAMES
from tests.cli.commands import CALLS, groups
from tests.support.processes import Serving, environment
from tests.wheel.building import OTHERS, Environment, made, run, write_others_modules
from tests.wheel.conftest import Release

PROJECT = {
    "name": "Payments",
    "github_owner": "acme",
    "github_repo": "payments",
    "secrets": [{"key": "API_KEY", "value": "a made-up value"}],
}
UNCHANGED = f"""
import importlib, pkgutil, sys
path, others = list(sys.path), {OTHERS!r}
import strongroom
for module in pkgutil.iter_modules(strongroom.__path__, "strongroom."):
    if module.name == "strongroom.pytest_plugin":
        continue
    importlib.import_module(module.name)
    print(module.name)
assert sys.path == path
assert not sys.modules.keys() & set(others)
"""
"""The other program imports all of `strongroom`, without what only pytest imports."""

TYPED = """import models
import strongroom
from strongroom.__main__ import main

def start() -> int:
    print(strongroom.__name__, models.OWNER)
    return main()


def mistaken() -> str:
    return main()
"""
"""A typed program with one mistake, which shows that the types are known."""

LOOKING = f"""
import json, sys
from strongroom.__main__ import main
status, others = main(), {OTHERS!r}
found = [module for name, module in sys.modules.items() if name.partition(".")[0] in others]
print(json.dumps({{"status": status, "files": [module.__file__ for module in found]}}))
"""
"""Runs the command, and tells which of the modules with these names it has imported."""

HELPING = """
import json, sys
from strongroom.__main__ import main
statuses = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = [*words, "--help"]
    statuses.append(main())
print(json.dumps(statuses))
"""
"""Runs the command many times. The only argument has its words as JSON."""


def test_the_names_of_the_server_s_modules_are_known() -> None:
    assert set(OTHERS) == NAMES


def test_a_program_that_imports_the_package_keeps_its_own_modules(
    release: Release, folder: Path
) -> None:
    out = made(release.environment.python, "-c", UNCHANGED, cwd=folder)
    assert "strongroom.__main__" in out.split()
    for name in OTHERS:
        for options in (("-c",), ("-P", "-c")):
            words = (*options, f"import strongroom, {name}")
            seen = run(release.environment.python, *words, cwd=folder)
            place = release.environment.site if "-P" in options else folder
            assert f"RuntimeError: {place / name}" in seen.err


def test_the_command_imports_the_server_s_modules(release: Release, folder: Path) -> None:
    words = ("-c", LOOKING, "migrate", "--data-dir", "elsewhere")
    out = made(release.environment.python, *words, cwd=folder)
    told = json.loads(out.splitlines()[-1])
    assert told["status"] == 0
    server = release.environment.site / "strongroom" / "_server"
    assert str(server / "models.py") in told["files"]
    assert len(told["files"]) > 50
    assert [file for file in told["files"] if not Path(file).is_relative_to(server)] == []
    assert (folder / "elsewhere" / "strongroom.db").is_file()


Program = Callable[[Environment], Sequence[str | Path]]


def _script(there: Environment) -> Sequence[str | Path]:
    return (there.command,)


def _module(there: Environment) -> Sequence[str | Path]:
    return (there.python, "-m", "strongroom")


SUITE = """
import models

def test_the_server_of_the_wheel(strongroom_server, strongroom_token):
    assert strongroom_token(["projects:read"]).startswith("sr_2_")
    assert models.OWNER == "the other program"
"""


@pytest.mark.long_form
def test_the_other_program_s_suite_has_the_fixtures(release: Release, tmp_path: Path) -> None:
    there = Environment(tmp_path / "environment")
    there.make(release.wheel)
    there.add("pytest")
    program = tmp_path / "program"
    program.mkdir()
    (program / "models.py").write_text('OWNER = "the other program"\n')
    (program / "test_it.py").write_text(SUITE)
    out = made(there.python, "-m", "pytest", "-W", "error", program, cwd=program)
    assert "1 passed" in out


@pytest.mark.long_form
@pytest.mark.parametrize(
    ("program", "variables"),
    [
        pytest.param(_script, {}, id="script"),
        pytest.param(_script, {"PYTHONPATH": "."}, id="script with a path"),
        pytest.param(_module, {}, id="module"),
        pytest.param(_module, {"PYTHONSAFEPATH": "1"}, id="module with a safe path"),
    ],
)
def test_the_server_runs_in_the_other_program_s_folder(
    release: Release, folder: Path, program: Program, variables: dict[str, str]
) -> None:
    words = program(release.environment)
    before = set(folder.iterdir())
    data = folder / "data"
    with Serving(data, env=environment() | variables, program=words) as serving:
        serving.wait_for("curl")
        with serving.client() as client:
            created = client.post("/api/projects", json=PROJECT)
            assert created.status_code == 201, created.text
            assert client.get("/openapi.json").json()["info"]["title"] == "Strongroom"
            assert client.get("/docs").status_code == 200
        assert serving.end() == 0
        logged = [json.loads(line) for line in serving.err.splitlines()]
    assert {"strongroom.start", "strongroom.access"} <= {line["logger"] for line in logged}
    assert {line["logger"].partition(".")[0] for line in logged} <= {"strongroom", "uvicorn"}
    verified = made(*words, "verify", "--data-dir", data, cwd=folder, **variables)
    assert verified.splitlines()[-1].startswith("all is well: ")
    assert set(folder.iterdir()) - before == {data, data.with_suffix(".log")}


@pytest.mark.long_form
def test_every_command_has_its_help(release: Release, folder: Path) -> None:
    names = [*groups(), *CALLS]
    asked = json.dumps([name.split() for name in names])
    out = made(release.environment.python, "-c", HELPING, asked, cwd=folder)
    told = json.loads(out.splitlines()[-1])
    assert told == [0] * len(names)
    for name in names:
        assert f"Usage: strongroom {name}".rstrip() in out


@pytest.mark.long_form
def test_modules_that_python_imports_at_its_start_give_way(
    release: Release, tmp_path: Path
) -> None:
    folder = write_others_modules(tmp_path / "program", "OWNER = 'another program'\n")
    (folder / "sitecustomize.py").write_text(f"import {', '.join(OTHERS)}\nASKED = models\n")
    for number, program in enumerate((_script, _module)):
        words = (*program(release.environment), "migrate", "--json", "--data-dir", f"data{number}")
        out = made(*words, cwd=folder, PYTHONPATH=str(folder))
        assert "0001_create_core_tables" in json.loads(out)["applied"]


@pytest.mark.long_form
def test_pip_puts_one_package_and_one_command_into_an_environment(
    release: Release, tmp_path: Path
) -> None:
    there = Environment(tmp_path / "environment")
    venv.create(there.place, symlinks=True)
    write_others_modules(there.site)
    before = sorted(there.place.rglob("*"))
    pip = (sys.executable, "-m", "pip", "--python", there.python, "--disable-pip-version-check")
    made(*pip, "install", "--no-index", "--no-deps", release.wheel, cwd=tmp_path)
    added = {file for file in there.place.rglob("*") if file not in before}
    name, version = release.wheel.name.split("-")[:2]
    package, info = there.site / name, there.site / f"{name}-{version}.dist-info"
    assert {package, info, there.command} <= added
    assert [
        file
        for file in added - {there.command}
        if not file.is_relative_to(package) and not file.is_relative_to(info)
    ] == []
    made(*pip, "uninstall", "--yes", "strongroom", cwd=tmp_path)
    assert sorted(there.place.rglob("*")) == before


@pytest.mark.long_form
def test_a_type_checker_reads_the_package_s_types(release: Release, tmp_path: Path) -> None:
    folder = write_others_modules(tmp_path / "program", "OWNER = 'another program'\n")
    (folder / "program.py").write_text(TYPED)
    options = ("--strict", "--no-error-summary", "--cache-dir", tmp_path / "cache")
    checked = run(
        *(sys.executable, "-m", "mypy", *options),
        *("--python-executable", release.environment.python, "program.py"),
        cwd=folder,
    )
    assert checked.out == (
        'program.py:11: error: Incompatible return value type (got "int", expected "str")  '
        "[return-value]\n"
    )
    assert (checked.status, checked.err) == (1, "")
