"""Calling an ASGI application like a server, without a server."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.processes import BenchError


@dataclass(slots=True)
class Call:
    """One request."""

    method: str
    path: str
    token: str
    value: Any = None
    body: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        if self.value is not None:
            self.body = json.dumps(self.value).encode()

    def scope(self) -> Scope:
        """The ASGI scope that a server would pass."""
        headers = [
            (b"host", b"127.0.0.1"),
            (b"user-agent", b"bench"),
            (b"authorization", b"Bearer " + self.token.encode()),
        ]
        if self.body:
            headers.append((b"content-type", b"application/json"))
            headers.append((b"content-length", str(len(self.body)).encode()))
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }


async def call(app: ASGIApp, request: Call) -> int:
    """The status of the answer. Raises `BenchError` unless it is a success."""
    status = 0
    waiting = True

    async def receive() -> Message:
        nonlocal waiting
        if not waiting:
            # The application waits for a disconnect, but this client stays connected.
            await asyncio.Event().wait()
        waiting = False
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await app(request.scope(), receive, send)
    if not 200 <= status < 300:
        raise BenchError(f"{request.method} {request.path} was answered {status}")
    return status


async def answer_nothing(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An application that only answers 200."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
