"""Finds the route of a request without trying all routes in turn."""

from collections.abc import Iterable

from starlette.convertors import StringConvertor
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from backend.http.fast_path.direct_call import Handler


class RouteTable(BaseRoute):
    """Stands before the other routes, and finds the first of them that matches.

    The router handles requests without a match: it tries all routes in order, and answers 404 and
    405.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        """Raises `ValueError` for a route whose paths have no outline."""
        self._routes: dict[tuple[str, int, str], list[Route]] = {}
        self._exact: dict[tuple[str, str], Route] = {}
        """The routes without parameters, by method and path."""
        for route in routes:
            if not isinstance(route, Route):
                raise ValueError(f"{route!r} has no methods and no template")
            for method in route.methods or ():
                key = _outline(method, route.path_format)
                if "{" in key[2] or any(
                    type(c) is not StringConvertor for c in route.param_convertors.values()
                ):
                    raise ValueError(f"paths of {route.path_format} have no outline")
                self._routes.setdefault(key, []).append(route)
                path = route.path_format
                if not route.param_convertors and self._first(method, path)[0] is route:
                    self._exact[method, path] = route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """The match of the first route that takes the method and the path, or none."""
        if scope["type"] == "http":
            for route in self._routes.get(_outline(scope["method"], scope["path"]), ()):
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    child_scope["route"] = route
                    return match, child_scope
        return Match.NONE, {}

    def direct_handler(self, scope: Scope) -> Handler | None:
        """The handler of the direct route of the request, whose match is then in `scope`; `None`
        for any other request."""
        handler: Handler | None
        if scope.get("root_path") or scope.get("path_params"):
            _, child_scope = self.matches(scope)
            handler = getattr(child_scope.get("route"), "direct", None)
            if handler is not None:
                scope.update(child_scope)
            return handler
        method, path = scope["method"], scope["path"]
        route = self._exact.get((method, path))
        parameters: dict[str, str] = {}
        if route is None:
            route, parameters = self._first(method, path)
        handler = getattr(route, "direct", None)
        if route is not None and handler is not None:
            scope["endpoint"] = route.endpoint
            scope["path_params"] = parameters
            scope["route"] = route
        return handler

    def _first(self, method: str, path: str) -> tuple[Route | None, dict[str, str]]:
        """The first route that takes the method and the path, and its parameters."""
        for route in self._routes.get(_outline(method, path), ()):
            match = route.path_regex.match(path)
            if match is not None:
                return route, match.groupdict()
        return None, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the route that was found."""
        await scope["route"].app(scope, receive, send)


def _outline(method: str, path: str) -> tuple[str, int, str]:
    """The parts that a path shares with its template: the number of slashes, since a parameter
    contains none, and the text after the second slash, where templates have no parameter."""
    parts = path.split("/", 3)
    return method, path.count("/"), parts[2] if len(parts) > 2 else ""
