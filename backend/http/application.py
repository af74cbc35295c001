"""FastAPI's application, with the edge in front of everything else."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


class Application(FastAPI):
    """A FastAPI application whose edge is the first to see a request.

    FastAPI's own layers in front of it would handle errors that the edge handles, and measure
    what it measures.
    """

    def __init__(self, edge: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        """`edge` makes the edge in front of an application."""
        super().__init__(**options)
        self._make_edge = edge

    def build_middleware_stack(self) -> ASGIApp:
        """The middleware that was added, then the edge, then FastAPI's routes with their errors."""
        routes = AsyncExitStackMiddleware(self.router)
        stack = self._make_edge(ExceptionMiddleware(routes, handlers=self.exception_handlers))
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
