"""Calls the routes that need nothing of FastAPI's and Starlette's layers between the edge and them.

The layers catch errors, open exit stacks for dependencies, and try the routes in their order.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.http.fast_path.direct_call import Handler
from backend.http.fast_path.route_table import RouteTable

ErrorHandlers = Mapping[Any, Callable[..., Any]]
"""Coroutine functions that make the answer of a request and an error, by class of error."""


class DirectRoutes:
    """Answers the requests for direct routes, and passes on all others."""

    def __init__(
        self,
        table: RouteTable,
        routes: Sequence[BaseRoute],
        handlers: ErrorHandlers,
        others: ASGIApp,
    ) -> None:
        """`routes` are all routes of the application, with the table in front. `others` answers the
        requests for routes that are not direct, and those without a route."""
        self._table = table
        self._routes = routes
        self._handlers = handlers
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Raises the errors that have no handler."""
        handle = self.handler(scope) if scope["type"] == "http" else None
        if handle is None:
            await self._others(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await handle(request)
        except Exception as error:  # noqa: BLE001 - raised again unless it has a handler
            response = await self.handled(request, error)
        await response(scope, receive, send)

    def handler(self, scope: Scope) -> Handler | None:
        """The handler of the direct route of the request, whose match is then in `scope`; `None`
        for any other request."""
        # A route that was put in front of the table is tried first.
        return self._table.direct_handler(scope) if self._routes[0] is self._table else None

    async def handled(self, request: Request, error: Exception) -> Response:
        """The answer to an error. Raises the error again if no handler is for it."""
        for kind in type(error).__mro__:
            if kind in self._handlers:
                response: Response = await self._handlers[kind](request, error)
                return response
        raise error
