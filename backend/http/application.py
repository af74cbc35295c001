"""FastAPI's application, with the edge in front of everything else."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.http.fast_path.direct_routes import DirectRoutes
from backend.http.fast_path.route_table import RouteTable
from backend.http.guarded_route import GuardedRoute


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
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)
