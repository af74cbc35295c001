"""Answers an ambiguous request, then closes the connection.

One reader may take the bytes after such a request for the rest of its body, and another reader for
the next request.
"""

import asyncio
import contextlib

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

_SECONDS = 2.0
"""How long to wait for the rest of the body."""


class ClosingAnswer:
    """Sends an answer, drops the rest of the body, and lets the server close the connection.

    Closing while the client still sends would reset the connection and lose the answer.
    """

    def __init__(self, answer: Response, receive: Receive, max_body_bytes: int) -> None:
        """`receive` is the server's own callable, which never raises."""
        self._answer = answer
        self._receive = receive
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, skip the rest of the body, and end the response."""
        # HTTP/2 has no such header, and its requests can't run into each other.
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

        # With `Expect: 100-continue` the answer tells the client not to send the body.
        expects = any(name == b"expect" for name, _ in scope["headers"])
        await self._answer(scope, receive, send if expects else send_then_skip)

    async def _skip_body(self) -> None:
        skipped = 0
        while skipped <= self._max_body_bytes:
            message = await self._receive()
            skipped += len(message.get("body", b""))
            if not message.get("more_body", False):
                return
