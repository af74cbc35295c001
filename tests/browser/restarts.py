"""A service that ends and comes back at its port while a client keeps changing things."""

import itertools
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.clients import client_at
from tests.support.processes import Serving, environment

BETWEEN_CHANGES = 0.005
"""Seconds between two changes, so that the tests read thousands of events and not millions."""


def port_to_come_back_to() -> int:
    """A free port below those that the system gives to connections, so that it stays free."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Restarts:
    """`strongroom serve` at one port, which can be ended and started again."""

    def __init__(self, directory: Path, port: int | None = None, **settings: str) -> None:
        self.directory = directory
        self.port = port or port_to_come_back_to()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = settings
        self.serving = self._started()

    @property
    def token(self) -> str:
        """The admin token of the first start."""
        return self.serving.token

    def client(self) -> httpx.Client:
        """A client with the admin token."""
        return client_at(self.url, self.token)

    def end(self, number: signal.Signals) -> None:
        """End the service with this signal."""
        status = self.serving.end(number)
        assert status == (0 if number == signal.SIGTERM else -number), self.serving.err
        self.serving.__exit__(None, None, None)

    def start(self, directory: Path | None = None, **settings: str) -> None:
        """Start it again, perhaps on another data directory or with other settings."""
        self.directory = directory or self.directory
        self._settings |= settings
        self.serving = self._started()

    def _started(self) -> Serving:
        arguments = ("--port", str(self.port))
        serving = Serving(self.directory, *arguments, env=environment(**self._settings))
        return serving.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.serving.__exit__(kind, error, traceback)


class Changes:
    """Makes projects, one after the other, also while the service is away."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
        self.acknowledged: list[int] = []
        """The ids of the projects whose creation was answered."""
        self.unanswered = 0
        """How many requests got no answer."""

    def _run(self) -> None:
        try:
            for number in itertools.count():
                if self._stop.wait(BETWEEN_CHANGES):
                    return
                self._make(number)
        except BaseException as error:  # noqa: BLE001 - `__exit__` raises it
            self._error = error

    def _make(self, number: int) -> None:
        body: dict[str, Any] = {"name": "p", "github_owner": "acme", "github_repo": f"r{number}"}
        try:
            answer = self._client.post("/api/projects", json=body)
        except httpx.TransportError:
            self.unanswered += 1
        else:
            assert answer.status_code == 201, answer.text
            self.acknowledged.append(answer.json()["id"])

    def stop(self) -> None:
        """Make no more. Raises what the thread has raised."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def start(self) -> None:
        """Begin to make projects."""
        self._thread.start()


@contextmanager
def changing(service: Restarts) -> Iterator[Changes]:
    """Changes that go on in the block."""
    with service.client() as client:
        changes = Changes(client)
        changes.start()
        try:
            yield changes
        finally:
            changes.stop()
