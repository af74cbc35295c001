"""`app.state` is one typed object, and `state_of` is the only way to it."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from fastapi import FastAPI

from backend.http.not_running import NotRunning
from backend.http.state import AppState, state_of
from backend.main import create_app
from config.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file for room in ("backend", "bench", "strongroom") for file in (ROOT / room).rglob("*.py")
)
AT_THE_STATE = {"backend/http/state.py": 1, "backend/main.py": 1}
"""The only place that reads `app.state`, and the only one that sets it."""


def looks_at_state(node: ast.AST) -> bool:
    """Whether the code is `app.state` or `x.app.state`, or accesses an attribute of that name."""
    if isinstance(node, ast.Attribute) and node.attr == "state":
        return "app" in (getattr(node.value, "id", None), getattr(node.value, "attr", None))
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "id", None) in ("getattr", "setattr", "hasattr")
        and "state" in ast.unparse(node)
    )


def test_nothing_reaches_the_state_another_way() -> None:
    found = {}
    for file in SOURCES:
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        count = sum(looks_at_state(node) for node in nodes)
        if count:
            found[str(file.relative_to(ROOT))] = count
    assert found == AT_THE_STATE


def test_nothing_else_can_be_put_there(application: FastAPI) -> None:
    state = state_of(application)
    held: object = application.state
    assert held is state
    with pytest.raises(AttributeError):
        setattr(state, "another", 1)  # noqa: B010 - a type checker would not notice it
    # The parts that are `None` before the lifespan begins exist now.
    begun = [part.name for part in fields(AppState) if part.default is None]
    assert begun == ["runtime", "service"]
    assert all(getattr(state, name) is not None for name in begun)


def test_another_application_has_no_such_state() -> None:
    with pytest.raises(TypeError, match="create_app"):
        state_of(FastAPI())


def test_nothing_runs_before_the_lifespan(settings: Settings) -> None:
    state = state_of(create_app(settings))
    assert state.service is None
    with pytest.raises(NotRunning):
        _ = state.installation
