"""The package is imported in parts, and takes what newer services send."""

import subprocess
import sys
from typing import Any

import pytest

import strongroom
from strongroom.models import AgentRun, Project


def _modules_after(program: str) -> set[str]:
    code = f"import sys; sys.path[:] = {sys.path!r}; {program}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_package_itself_imports_nearly_nothing() -> None:
    before = _modules_after("pass")
    new = {name.partition(".")[0] for name in _modules_after("import strongroom") - before}
    assert new <= {"importlib", "strongroom", "warnings"}


def test_the_command_and_the_server_do_without_httpx() -> None:
    found = _modules_after("import strongroom.__main__, backend.cli, backend.main")
    assert "backend.main" in found
    assert "httpx" not in found
    assert "strongroom._async.client" not in found


def test_each_public_name_is_there() -> None:
    assert set(strongroom.__all__) <= set(dir(strongroom))
    for name in strongroom.__all__:
        assert getattr(strongroom, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        strongroom.Clint  # noqa: B018


def _project(**fields: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "created_at": "2026-01-31T12:00:00.000000Z",
        "updated_at": "2026-01-31T12:00:00.000000Z",
        "version": 3,
        "name": "n",
        "github_owner": "o",
        "github_repo": "r",
        "status": "active",
        "webhook_url": None,
        "auto_merge_enabled": False,
        "auto_confirm_plans": False,
        **fields,
    }


def test_a_newer_service_may_say_more() -> None:
    project = Project.model_validate(_project(status="asleep", colour="red"))
    assert (project.status, project.etag) == ("asleep", '"v3"')
    assert not hasattr(project, "colour")


def test_models_are_no_tests_for_pytest() -> None:
    assert AgentRun.__test__ is False
