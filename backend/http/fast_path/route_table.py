"""Finds the route of a request without trying all routes in turn."""

from collections.abc import Iterable

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
        for route in routes:
            if not isinstance(route, Route):
                raise ValueError(f"{route!r} has no methods and no template")
            for method in route.methods or ():
                key = _outline(method, route.path_format)
                if "{" in key[2] or any(
                    c.regex != "[^/]+" for c in route.param_convertors.values()
                ):
                    raise ValueError(f"paths of {route.path_format} have no outline")
                self._routes.setdefault(key, []).append(route)

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
        match, child_scope = self.matches(scope)
        if match is Match.NONE:
            return None
        handler: Handler | None = getattr(child_scope["route"], "direct", None)
        if handler is not None:
            scope.update(child_scope)
        return handler

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the route that was found."""
        await scope["route"].app(scope, receive, send)


def _outline(method: str, path: str) -> tuple[str, int, str]:
    """The parts that a path shares with its template: the number of slashes, since a parameter
    contains none, and the text after the second slash, where templates have no parameter."""
    parts = path.split("/", 3)
    return method, path.count("/"), parts[2] if len(parts) > 2 else ""
