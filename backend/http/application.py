"""FastAPI's application, with the edge in front of everything else."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.http.edge import Edge
from backend.http.fast_path.direct_routes import DirectRoutes
from backend.http.fast_path.route_table import RouteTable
from backend.http.guarded_route import GuardedRoute
from backend.http.kept_path import KeptPath
from backend.http.whole_requests import TakesWhole


class Application(FastAPI):
    """A FastAPI application whose edge is the first to see a request.

    FastAPI's own layers in front of it would handle errors that the edge handles, and measure
    what it measures.
    """

    def __init__(
        self,
        edge: Callable[[ASGIApp], ASGIApp],
        guarded: Sequence[GuardedRoute],
        **options: Any,
    ) -> None:
        """`edge` makes the edge in front of an application. The direct routes among `guarded` are
        called from there."""
        super().__init__(**options)
        self._make_edge = edge
        # The table comes first, so that finding a route does not depend on its position.
        self._table = RouteTable(guarded)
        self.router.routes.append(self._table)
        # Not `include_router`, which matches every included route twice and costs a fifth of the
        # whole application's throughput.
        self.router.routes.extend(guarded)

    def build_middleware_stack(self) -> ASGIApp:
        """The middleware that was added, then the edge, then FastAPI's routes with their errors."""
        handlers = self.exception_handlers
        others = ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=handlers)
        stack = self._make_edge(DirectRoutes(self._table, self.router.routes, handlers, others))
        for make, args, options in reversed(self.user_middleware):
            stack = make(stack, *args, **options)
        return stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the lifespan."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self._stack()(scope, receive, send)

    @property
    def takes_whole(self) -> TakesWhole | None:
        """Answers a request whose body has arrived as a whole, with this application in its scope;
        `None` where `kept_path` is."""
        edge = self._stack()
        return edge.take_whole if isinstance(edge, Edge) else None

    @property
    def kept_path(self) -> KeptPath | None:
        """Sends kept answers; `None` if none is kept, or if middleware in front of the edge has to
        see every request. No more middleware can be added afterwards."""
        edge = self._stack()
        return edge.kept_path if isinstance(edge, Edge) else None

    def _stack(self) -> ASGIApp:
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        return self.middleware_stack
