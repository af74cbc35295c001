"""Every list uses the helper in `backend/services/listing.py`; lists are found by their routes."""

import ast
from functools import cache
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from backend.routes import ROUTERS

SERVICES = Path(__file__).parents[2] / "backend" / "services"
HELPER = SERVICES / "listing.py"
PLACE = frozenset({"self", "limit", "cursor", "with_runs"})
"""Parameters that select a page within a list or what is shown of it, not the list itself."""


def names_of_parameters(route: APIRoute) -> set[str]:
    return {parameter.alias for parameter in route.dependant.query_params}


ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
LISTS = [
    route
    for route in ROUTES
    # A scan has a cursor too, but each of its answers is as long as its time.
    if "cursor" in names_of_parameters(route) and route.methods == {"GET"}
]
SHAPES: dict[str, type[BaseModel]] = {
    route.response_model.__name__: route.response_model
    for route in ROUTES
    if isinstance(route.response_model, type)
    and issubclass(route.response_model, BaseModel)
    and "next_cursor" in route.response_model.model_fields
    and route.methods == {"GET"}
}
"""The answers that can have a next page."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> list[tuple[Path, ast.Module]]:
    """The code of the services, without the helper."""
    return [
        (file, ast.parse(file.read_text(encoding="utf-8"), str(file)))
        for file in sorted(SERVICES.rglob("*.py"))
        if file != HELPER
    ]


def calls(tree: ast.AST, method: str) -> list[ast.Call]:
    """The calls of a method with this name, on any object."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
    ]


def names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@cache
def listing_functions() -> list[tuple[str, Function]]:
    """The functions that read a page of a list, whose arguments select the list."""
    return [
        (f"{file.relative_to(SERVICES)}:{node.name}", node)
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and {"cursor", "limit"} <= {argument.arg for argument in node.args.kwonlyargs}
        and calls(node, "listing")
        and file.name != "base.py"
    ]


def test_a_route_with_a_cursor_is_a_list_and_a_list_has_a_cursor_and_a_limit() -> None:
    answers = {route.path: route for route in ROUTES if route.response_model in SHAPES.values()}
    assert {route.path for route in LISTS} == set(answers)
    # Runs have two lists: all of them, and those of one project.
    assert len(LISTS) - 1 == len(SHAPES) == len(listing_functions()) >= 13
    for route in LISTS:
        assert names_of_parameters(route) >= {"cursor", "limit"}, route.path


@cache
def texts() -> list[tuple[Path, ast.Module, str, dict[str, int]]]:
    """The code of each file, its text, and a line for each function that it calls."""
    return [
        (
            file,
            tree,
            ast.unparse(tree),
            {
                ast.unparse(node.func): node.lineno
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
            },
        )
        for file, tree in trees()
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_answer_of_a_list_is_made_by_the_helper(shape: str) -> None:
    made = []
    for file, tree, text, called in texts():
        by_helper = [ast.unparse(call.args[0]) for call in calls(tree, "answer")]
        made += [file for name in by_helper if name == shape]
        by_hand = called.keys() & {shape, f"{shape}.model_construct"}
        assert not by_hand, f"{file}:{[called[name] for name in by_hand]} makes {by_hand}"
        if f"{shape}.model_validate_json" in text:
            made += [file for _ in calls(tree, "json")]
    assert len(made) == 1, made


def test_nothing_but_the_helper_reads_or_writes_cursors() -> None:
    for file, tree in trees():
        used = names(tree) | {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        used |= {node.arg or "" for node in ast.walk(tree) if isinstance(node, ast.keyword)}
        assert not used & {"cursors", "next_cursor"} or file.name == "base.py", file
        # The kit creates the codec, and passes it to the helper.
        assert "CursorCodec" not in used or file.name == "base.py", file


@pytest.mark.parametrize("name", [name for name, _ in listing_functions()])
def test_every_filter_of_a_list_binds_its_cursor(name: str) -> None:
    function = dict(listing_functions())[name]
    (call,) = calls(function, "listing")
    bound = names(call)
    # The names that these were computed from, step by step backwards.
    steps = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    for _ in steps:
        for step in steps:
            if bound & names(step.targets[0]):
                bound |= names(step.value)
    arguments = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    assert arguments - PLACE <= bound, arguments - PLACE - bound
