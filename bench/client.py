"""Single requests: for seeding, probing, reading pages, and the slow query during a load."""

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, Self

from bench.processes import BenchError
from bench.workloads import PROJECTS, SECRETS_BODY, project_body

SLOW_SECONDS = 0.5


class Client:
    """One keep-alive connection to a server."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """The status and body of the answer."""
        headers = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        self._connection.request(method, path, body=data, headers=headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def require(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises `BenchError` unless it is a success."""
        status, data = self.send(method, path, body)
        if not 200 <= status < 300:
            raise BenchError(f"{method} {path} was answered {status}: {data[:200]!r}")
        return json.loads(data)

    def tag(self, path: str) -> str:
        """The `ETag` of the answer to a `GET`. Raises `BenchError` when it has none."""
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        tag = answer.getheader("ETag")
        if tag is None:
            raise BenchError(f"GET {path} was answered {answer.status} without an ETag")
        return tag

    def has(self, method: str, path: str, body: Any = None) -> bool:
        """Whether the server has this call. Raises `BenchError` when the call exists and fails."""
        status, data = self.send(method, path, body)
        if status in (404, 405):
            return False
        if not 200 <= status < 300:
            raise BenchError(f"{method} {path} was answered {status}: {data[:200]!r}")
        return True


def seed(client: Client) -> None:
    """Create the projects that all loads use, with ids from 1."""
    for number in range(1, PROJECTS + 1):
        client.require("POST", "/api/projects", project_body(number))
        client.require("PUT", f"/api/projects/{number}/secrets", SECRETS_BODY)


def slow_query_size(port: int, token: str) -> int:
    """The `size` with which the slow query takes half a second in this server, while it is idle.

    It is measured for each server, because their SQLite versions differ in speed. Raises
    `BenchError`.
    """
    size = 50_000
    with Client(port, token) as client:
        while True:
            began = time.perf_counter()
            client.require("GET", f"/bench/slow?size={size}")
            taken = time.perf_counter() - began
            if taken > SLOW_SECONDS / 4:
                return round(size * SLOW_SECONDS / taken)
            size *= 2


class SlowQueries:
    """Sends the slow query again and again, on its own thread."""

    def __init__(self, port: int, token: str, size: int) -> None:
        self._port, self._token, self._size = port, token, size
        self._stop = threading.Event()
        self._taken: list[float] = []
        self._error: Exception | None = None

    def run(self) -> None:
        """Send queries until `stop`."""
        try:
            with Client(self._port, self._token) as client:
                while not self._stop.is_set():
                    began = time.perf_counter()
                    client.require("GET", f"/bench/slow?size={self._size}")
                    self._taken.append(time.perf_counter() - began)
        except (OSError, HTTPException, BenchError) as error:
            # An error in a thread would be lost, so `seconds` raises it.
            self._error = error

    def stop(self) -> None:
        """Stop after the current query."""
        self._stop.set()

    def seconds(self) -> float:
        """The median duration of a query. Raises `BenchError` if a query failed."""
        if self._error is not None:
            raise BenchError(f"the slow query failed: {self._error}") from self._error
        return statistics.median(self._taken)


@contextmanager
def slow_queries(port: int, token: str, size: int) -> Iterator[SlowQueries]:
    """Run slow queries during the block."""
    queries = SlowQueries(port, token, size)
    thread = threading.Thread(target=queries.run, name="slow-queries")
    thread.start()
    try:
        yield queries
    finally:
        queries.stop()
        thread.join()
