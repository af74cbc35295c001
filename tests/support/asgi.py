"""Requests to an application as a server passes them on, and all of its answer."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Scope

RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Head:
    """The head of a request, and its body."""

    path: str
    query: bytes = b""
    method: str = "GET"
    headers: RawHeaders = field(default_factory=list)
    body: bytes = b""
    raw_path: bytes | None = None
    version: str = "1.1"
    root_path: str = ""
    client: tuple[str, int] | None = ("127.0.0.1", 50_000)

    def scope(self) -> Scope:
        """A new ASGI scope of the request."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self.version,
            "method": self.method,
            "scheme": "http",
            "path": self.root_path + self.path,
            "raw_path": self.path.encode() if self.raw_path is None else self.raw_path,
            "query_string": self.query,
            "root_path": self.root_path,
            "headers": list(self.headers),
            "client": self.client,
            "server": ("127.0.0.1", 8000),
            "state": {},
        }


async def exchanged(app: ASGIApp, head: Head) -> list[Message]:
    """Every message of the application's answer."""
    bodies = [{"type": "http.request", "body": head.body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Any:
        if not bodies:
            # The client stays connected.
            await asyncio.Event().wait()
        return bodies.pop()

    async def send(message: Message) -> None:
        sent.append(
            {**message, "headers": list(message["headers"])}
            if "headers" in message
            else {**message}
        )

    await app(head.scope(), receive, send)
    return sent
