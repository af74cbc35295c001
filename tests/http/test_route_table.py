"""The table finds the same route as a search through all routes in order."""

import itertools
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope

from backend.http.fast_path.route_table import RouteTable
from backend.routes import POLICIES

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")
PIECES = ("1", "x", "", "claim", "by-repo", "export", "api", "secrets", "é", "\n", "1\n", "{key}")


async def nothing(_request: Request) -> Response:
    return Response()


def scope_of(method: str, path: str, **more: str) -> Scope:
    return {"type": "http", "method": method, "path": path, "root_path": "", **more}


def table_of(app: FastAPI) -> tuple[RouteTable, list[BaseRoute]]:
    """The application's table, and the routes after it."""
    table, *others = app.router.routes
    assert isinstance(table, RouteTable)
    return table, others


def first(routes: list[BaseRoute], scope: Scope) -> BaseRoute | None:
    """The first route that matches the method and the path; partial matches are ignored."""
    return next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)


def paths() -> Iterator[str]:
    """Paths of every route, and similar ones."""
    for template in {template for _, template in POLICIES}:
        parts = template.split("/")
        names = [index for index, part in enumerate(parts) if part.startswith("{")]
        for pieces in itertools.product(PIECES, repeat=len(names)):
            filled = parts.copy()
            for index, piece in zip(names, pieces, strict=True):
                filled[index] = piece
            path = "/".join(filled)
            yield from (path, path + "/", path + "\n", path + "/x", "/" + path, path[:-1], path[1:])


@pytest.mark.shared
def test_it_finds_the_first_route_that_matches(application: FastAPI) -> None:
    table, others = table_of(application)
    found = set()
    for path in set(paths()):
        for method in METHODS:
            scope = scope_of(method, path)
            match, child_scope = table.matches(scope)
            if match is Match.FULL:
                route: APIRoute = child_scope["route"]
                assert route == first(others, scope), (method, path)
                assert child_scope == route.matches(scope)[1]
                found.add((method, route.path_format))
                assert table.direct_handler(scope) is getattr(route, "direct", None)
                if getattr(route, "direct", None) is not None:
                    assert scope == {**scope_of(method, path), **child_scope}
            else:
                assert match is Match.NONE
                assert child_scope == {}
                assert table.direct_handler(scope) is None
                assert scope == scope_of(method, path)
    assert found == set(POLICIES)


@pytest.mark.shared
def test_it_finds_every_route_that_a_plain_path_has(application: FastAPI) -> None:
    table, others = table_of(application)
    for method, template in POLICIES:
        scope = scope_of(method, template.replace("{", "").replace("}", ""))
        assert table.matches(scope)[1]["route"] is first(others, scope)


@pytest.mark.shared
def test_below_a_path_of_the_proxy_it_finds_nothing_wrong(application: FastAPI) -> None:
    table, others = table_of(application)
    for root in ("/strongroom", "/api", "/api/projects", "/a/b"):
        for path in ("/api/projects", "/api/projects/1", "/api/logs", "/health", "/"):
            scope = scope_of("GET", root + path, root_path=root)
            match, child_scope = table.matches(scope)
            if match is Match.FULL:
                assert child_scope["route"] is first(others, scope)


@pytest.mark.shared
def test_it_takes_no_web_socket(application: FastAPI) -> None:
    table, _ = table_of(application)
    assert table.matches({"type": "websocket", "path": "/api/projects"}) == (Match.NONE, {})


def test_of_two_that_match_the_first_is_found() -> None:
    one, two = Route("/a/b/{x}", nothing), Route("/a/b/c", nothing)
    for routes in ([one, two], [two, one]):
        _, child_scope = RouteTable(routes).matches(scope_of("GET", "/a/b/c"))
        assert child_scope["route"] is routes[0]


@pytest.mark.parametrize(
    "route", [Route("/a/{x}/b", nothing), Route("/a/b/{x:path}", nothing), Mount("/a", routes=[])]
)
def test_a_route_that_it_would_not_find_is_refused(route: BaseRoute) -> None:
    with pytest.raises(ValueError, match=r"no outline|no methods"):
        RouteTable([route])
