"""A minimal HTTP client for requests that ordinary clients would not send."""

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from tests.support.servers import RunningServer


@dataclass(frozen=True)
class Answer:
    """An answer: the status, the headers by lower-case name, the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class Wire:
    """One connection to a server."""

    def __init__(self, server: RunningServer, token: str = "") -> None:
        self._token = token
        self._socket = server.connect()
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, whatever is in transit."""
        self._file.close()
        self._socket.close()

    def half_close(self) -> None:
        """Send nothing more, but continue to read."""
        self._socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes) -> None:
        """Send these bytes. It is no error if the server has answered and closed."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def head(self, method: str, path: str, *headers: str) -> None:
        """Send a request line and its headers."""
        lines = [f"{method} {path} HTTP/1.1", "Host: strongroom.test", *headers]
        if self._token:
            lines.append(f"Authorization: Bearer {self._token}")
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def chunks(self, parts: Iterable[bytes], *, end: bool = True) -> None:
        """Send a body in chunks, without its total length."""
        for part in parts:
            self.send(b"%x\r\n%s\r\n" % (len(part), part))
        if end:
            self.send(b"0\r\n\r\n")

    def answer(self, *, head_only: bool = False) -> Answer:
        """The next answer. Raises `ConnectionError` when the connection ends before it."""
        line = self._file.readline()
        if not line:
            raise ConnectionError("the connection ended without an answer")
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        length = 0 if head_only else int(headers.get("content-length", "0"))
        return Answer(status, headers, self._file.read(length))

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        try:
            return self._file.read()
        except ConnectionResetError:
            return b""


def received(server: RunningServer, data: bytes, *, at_once: bool = True) -> Answer:
    """The answer to these bytes, sent at once or in two parts."""
    with Wire(server) as wire:
        if not at_once:
            wire.send(data[: len(data) // 2])
            data = data[len(data) // 2 :]
        wire.send(data)
        return wire.answer()


def is_problem(answer: Answer) -> bool:
    """Whether it is a complete problem document."""
    document = answer.document
    return (
        answer.headers["content-type"] == "application/problem+json"
        and answer.headers["x-request-id"] == document["request_id"]
        and document["status"] == answer.status
        and "x-content-type-options" in answer.headers
    )
