"""The hash-pinned locks are complete, and are installed unchanged."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_a_lock_is_installed_unchanged() -> None:
    # If pip had to choose a version, an older pip would refuse the lock after a newer release.
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = re.findall(
        r"^\t@(?:PIP_PYTHON=\S+ )?(\$.*requirements\S*\.txt)$", makefile, re.MULTILINE
    )
    installs = [line for line in recipes if "UV_" not in line]
    assert len(installs) == 5
    assert all(line.startswith("$(LOCKED) ") for line in installs)
    variables = dict(re.findall(r"^(\w+) *:= (.*)$", makefile, re.MULTILINE))
    assert variables["LOCKED"] == "$(PIP) --require-hashes -r"
    assert "--no-deps" in variables["PIP"].split()


def test_a_lock_has_all_that_is_needed() -> None:
    command = [sys.executable, "-m", "pip", "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["aiosqlite", "fastapi", "uvicorn"])
def test_a_library_whose_insides_are_used_changes_its_minor_version_on_purpose(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (bounds,) = (
        found[1]
        for line in project["dependencies"]
        if (found := re.fullmatch(rf"{name}(>=\S+)", line))
    )
    major, minor = map(int, version(name).split(".")[:2])
    assert bounds == f">={major}.{minor},<{major}.{minor + 1}"


@pytest.mark.parametrize("name", ["browser", "clients"])
def test_the_lock_for_node_is_complete_and_names_no_registry(name: str) -> None:
    folder = ROOT / "tests" / name
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    text = (folder / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    packages = json.loads(text)["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert {f"node_modules/{name}": version for name, version in wanted.items()}.items() <= {
        name: package["version"] for name, package in packages.items()
    }.items()
    for place, package in packages.items():
        assert package["integrity"].startswith("sha512-"), place


def test_the_example_in_typescript_has_the_versions_that_are_tested() -> None:
    def versions(folder: Path) -> dict[str, str]:
        package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        return {**package["dependencies"], **package.get("devDependencies", {})}

    wanted = versions(ROOT / "examples" / "typescript")
    assert wanted.items() <= versions(ROOT / "tests" / "clients").items()
