"""An answer with which its connection ends, since its request could be read in two ways.

What comes behind such a request may be the rest of its body to one reader, and the next request to
another.
"""

import asyncio
import contextlib

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

_SECONDS = 2.0
"""How long the rest of the body is waited for."""


class ClosingAnswer:
    """Sends an answer, drops what is left of the body, and lets the server close.

    To close while the client sends would reset the connection, and take the answer along.
    """

    def __init__(self, answer: Response, receive: Receive, max_body_bytes: int) -> None:
        """`receive` is the server's own, which raises nothing whatever comes."""
        self._answer = answer
        self._receive = receive
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        # There is no such header in HTTP/2, whose requests can't run into each other.
        if scope.get("http_version", "1.0").startswith("1."):
            self._answer.headers["connection"] = "close"

        async def send_then_skip(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await self._skip_body()
            await send({"type": "http.response.body"})

        # Who waits for a sign to send the body is told not to by the answer.
        expects = any(name == b"expect" for name, _ in scope["headers"])
        await self._answer(scope, receive, send if expects else send_then_skip)

    async def _skip_body(self) -> None:
        skipped = 0
        while skipped <= self._max_body_bytes:
            message = await self._receive()
            skipped += len(message.get("body", b""))
            if not message.get("more_body", False):
                return
