"""Slow clients, with a clock that the test advances: which connections are closed, and which are
not.

The limits are those of the product.
"""

import contextlib
import io
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backend.cli.all_connections import Connections
from backend.cli.connections import ConnectionLimits
from backend.main import create_app
from config.settings import Settings
from tests.http.raw import Wire
from tests.support.clients import token_of_first_start
from tests.support.clocks import TickingClock
from tests.support.http import manager_of, new_project, row_counts
from tests.support.servers import PATIENCE, RunningServer

LIMITS = ConnectionLimits()
TEN = 10
"""Seconds within which a slow client is closed."""
HEALTH = b"GET /health HTTP/1.1\r\nHost: strongroom.test\r\n\r\n"


@pytest.fixture
def clock() -> TickingClock:
    """The clock that the server uses for connections."""
    return TickingClock()


@pytest.fixture
def limits() -> ConnectionLimits:
    """The limits of connections; a test may override them."""
    return LIMITS


@pytest.fixture
def server(
    settings: Settings, clock: TickingClock, limits: ConnectionLimits
) -> Iterator[RunningServer]:
    """A server with that clock."""
    with RunningServer(create_app(settings), Connections(limits, clock)) as server:
        yield server


@pytest.fixture
def token(server: RunningServer, settings: Settings) -> str:
    """The admin token."""
    assert server.url
    return token_of_first_start(settings)


@contextlib.contextmanager
def connected(server: RunningServer, sent: bytes = b"") -> Iterator[socket.socket]:
    """A connection with these bytes sent."""
    with contextlib.closing(server.connect()) as connection:
        connection.sendall(sent)
        yield connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed the connection. Its answers are dropped."""
    connection.settimeout(0)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        connection.settimeout(PATIENCE)
    return True


def drip(connection: socket.socket, data: bytes) -> None:
    """Send, even if the server may have closed the connection."""
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)


def post_head(token: str, length: int) -> bytes:
    """The head of a POST with a body of `length` bytes."""
    return (
        "POST /api/projects HTTP/1.1\r\nHost: strongroom.test\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_a_client_that_sends_nothing_is_closed_within_ten_seconds(
    server: RunningServer, clock: TickingClock
) -> None:
    with connected(server) as silent:
        for _ in range(TEN - 3):
            clock.advance(1)
        assert not is_closed(silent)
        for _ in range(3):
            clock.advance(1)
        assert is_closed(silent)


def test_a_body_that_comes_after_its_answer_leaves_the_connection_idle(
    server: RunningServer, clock: TickingClock
) -> None:
    with connected(server, post_head("wrong", 10)) as late:
        assert late.recv(65536).startswith(b"HTTP/1.1 401")
        late.sendall(b"x" * 10)
        for _ in range(2 * TEN):
            clock.advance(1)
        assert not is_closed(late)
        late.sendall(HEALTH)
        assert late.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_process_that_stood_still_closes_no_connection_for_it(
    server: RunningServer, clock: TickingClock
) -> None:
    with connected(server) as silent:
        clock.advance(1)
        clock.advance(10 * TEN)
        assert not is_closed(silent)


@pytest.mark.parametrize(
    "name",
    [
        "_start_asgi_task",
        "_unset_keepalive_if_required",
        "on_body",
        "on_headers_complete",
        "on_message_begin",
        "on_message_complete",
        "on_response_complete",
        "pause_writing",
        "send_400_response",
        "timeout_keep_alive_handler",
    ],
)
def test_uvicorn_has_what_is_overridden_or_called(name: str) -> None:
    assert callable(getattr(HttpToolsProtocol, name))


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (b"GET /health HTTP/1.1\r\nX-Long: ", b"x"),
        (b"", b"\r\n"),
        # The first request has been answered; the second one is never complete.
        (HEALTH, b"\r\n"),
        (HEALTH + b"GET /health HTTP/1.1\r\nX-Long: ", b"x"),
        (HEALTH.replace(b"Host", b"Content-Length: 99\r\nHost"), b"x"),
    ],
    ids=["a header", "empty lines", "empty lines after it", "a second head", "an unread body"],
)
def test_a_head_byte_by_byte_is_closed_within_ten_seconds(
    server: RunningServer, clock: TickingClock, begun: bytes, more: bytes
) -> None:
    with connected(server, begun) as slow:
        if begun.startswith(HEALTH[:20]) and len(begun) > 50:
            assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
            # From the first byte after an answer, the timeout of idle connections no longer
            # applies.
            drip(slow, more)
        for _ in range(TEN):
            clock.advance(1)
            drip(slow, more)
        assert is_closed(slow)


@pytest.mark.parametrize("more", [b"\r\n", b"x"], ids=["empty lines", "a second head"])
def test_a_connection_is_idle_after_a_kept_answer_until_it_sends_more(
    server: RunningServer, clock: TickingClock, token: str, more: bytes
) -> None:
    get = "GET /api/projects/1 HTTP/1.1\r\nHost: strongroom.test\r\nAuthorization: Bearer "
    with server.client(token) as client, connected(server) as slow:
        client.post("/api/projects", json=new_project())
        client.get("/api/projects/1")
        for _ in range(2):
            slow.sendall(f"{get}{token}\r\n\r\n".encode())
            assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
            for _ in range(2 * TEN):
                clock.advance(1)
            assert not is_closed(slow)
        drip(slow, b"GET /health HTTP/1.1\r\nX-Long: " if more == b"x" else more)
        for _ in range(TEN):
            clock.advance(1)
            drip(slow, more)
        assert is_closed(slow)


@pytest.mark.parametrize("seconds_between", [None, 1, 5])
def test_a_body_that_comes_too_slowly_is_closed_and_had_no_effect(
    server: RunningServer,
    clock: TickingClock,
    token: str,
    seconds_between: int | None,
    log: io.StringIO,
) -> None:
    body = json.dumps(new_project()).encode()
    before = row_counts(manager_of(server.app))
    with connected(server, post_head(token, len(body)) + body[:20]) as slow:
        for second in range(TEN):
            clock.advance(1)
            if seconds_between and second % seconds_between == 0:
                drip(slow, body[20 + second : 21 + second])
        assert is_closed(slow)
    assert row_counts(manager_of(server.app)) == before
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (line,) = [line for line in lines if line["logger"] == "strongroom.connections"]
    assert (line["event"], line["body"]) == ("slow clients closed", 1)


def test_a_body_over_a_slow_but_honest_line_is_taken(
    server: RunningServer, clock: TickingClock, token: str
) -> None:
    settings = {"planning_statement": "x" * 100_000}
    body = json.dumps(new_project(settings=settings)).encode()
    step = LIMITS.bytes_per_second * 5
    with Wire(server) as wire:
        wire.send(post_head(token, len(body)))
        for begin in range(0, len(body), step):
            wire.send(body[begin : begin + step])
            clock.advance(4)
        assert wire.answer().status == 201


def test_a_pause_shorter_than_the_limit_is_forgiven(
    server: RunningServer, clock: TickingClock, token: str
) -> None:
    body = json.dumps(new_project()).encode()
    with Wire(server) as wire:
        wire.send(post_head(token, len(body)) + body[:20])
        for _ in range(6):
            clock.advance(1)
        wire.send(body[20:])
        assert wire.answer().status == 201


@contextlib.contextmanager
def reader(server: RunningServer, requests: int) -> Iterator[socket.socket]:
    """A client with a small buffer whose requests ask for 300 kB each."""
    request = b"GET /openapi.json HTTP/1.1\r\nHost: strongroom.test\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(PATIENCE)
    with contextlib.closing(connection):
        connection.connect(server.address)
        sent = (request + b"\r\n") * (requests - 1) + request + b"Connection: close\r\n\r\n"
        connection.sendall(sent)
        yield connection


def test_a_client_that_reads_no_answer_is_closed_within_ten_seconds(
    server: RunningServer, clock: TickingClock, log: io.StringIO
) -> None:
    with reader(server, 60) as deaf:
        # The answers have begun, and fill every buffer on the way.
        assert deaf.recv(1)
        answers, before = 0, -1
        while answers != before or not answers:
            for _ in range(10):
                clock.advance(0)
            answers, before = log.getvalue().count('"event":"request"'), answers
        for _ in range(TEN + 2):
            clock.advance(1)
        assert server.open_connections == 0
    assert '"slow clients closed","answer":1' in log.getvalue()
    # The requests that waited behind that answer can't be answered, which is not an error.
    assert '"level":"error"' not in log.getvalue()


def test_a_client_that_reads_slowly_gets_everything(
    server: RunningServer, clock: TickingClock
) -> None:
    text = bytearray()
    with reader(server, 40) as slow:
        ended = False
        while not ended:
            before = len(text)
            while not ended and len(text) < before + 1_000_000:
                received = slow.recv(65536)
                text += received
                ended = not received
            clock.advance(3)
    assert text.count(b"HTTP/1.1 200 OK") == 40


def test_an_answer_that_takes_the_server_long_is_not_the_clients_fault(
    server: RunningServer, clock: TickingClock, token: str
) -> None:
    holding, release = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        holding.set()
        release.wait(PATIENCE)

    async def keep_writer() -> None:
        await manager_of(server.app).async_pool.run_alone(hold)

    future = server.submit(keep_writer())
    assert holding.wait(PATIENCE)
    body = json.dumps(new_project()).encode()
    with Wire(server) as wire:
        wire.send(post_head(token, len(body)) + body)
        for _ in range(2 * TEN):
            clock.advance(1)
        release.set()
        assert wire.answer().status == 201
    future.result(PATIENCE)


def test_an_idle_connection_stays_while_there_are_few(
    server: RunningServer, clock: TickingClock
) -> None:
    with server.client() as client:
        assert client.get("/health").status_code == 200
        for _ in range(10):
            clock.advance(60)
        assert server.open_connections == 1
        assert client.get("/health").status_code == 200
        assert server.open_connections == 1


class TestFew:
    """A server that accepts four connections."""

    @pytest.fixture
    def limits(self) -> ConnectionLimits:
        """Four."""
        return replace(LIMITS, connections=4)

    def test_slow_clients_do_not_starve_others(
        self, server: RunningServer, clock: TickingClock
    ) -> None:
        with contextlib.ExitStack() as stack:
            known = stack.enter_context(server.client())
            assert known.get("/health").status_code == 200
            for _ in range(3):
                stack.enter_context(connected(server, b"GET /health HT"))
            # The limit is reached, and clients that are already connected are served.
            while server.open_connections < 4:
                clock.advance(0)
            for _ in range(TEN):
                assert known.get("/health").status_code == 200
                clock.advance(1)
            assert server.open_connections == 1
            new = stack.enter_context(server.client())
            assert new.get("/health").status_code == 200

    def test_one_more_is_told_to_come_again(
        self, server: RunningServer, clock: TickingClock, log: io.StringIO
    ) -> None:
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(server)) for _ in range(4)]
            for wire in wires:
                wire.send(HEALTH)
                assert wire.answer().status == 200
            for _ in range(3):
                with Wire(server) as refused:
                    answer = refused.answer()
                    assert (answer.status, answer.document["code"]) == (503, "too_many_connections")
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert answer.headers["x-request-id"] == answer.document["request_id"]
                    assert int(answer.headers["retry-after"]) >= 1
                    with pytest.raises(ConnectionError):
                        refused.answer()
            wires[0].send(HEALTH)
            assert wires[0].answer().status == 200
            clock.advance(1)
            assert '"refused":3' in log.getvalue()
            wires[0].close()
            while server.open_connections == 4:
                clock.advance(0)
            with Wire(server) as wire:
                wire.send(HEALTH)
                assert wire.answer().status == 200

    def test_idle_connections_make_room(self, server: RunningServer, clock: TickingClock) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                wire = stack.enter_context(Wire(server))
                wire.send(HEALTH)
                assert wire.answer().status == 200
            for _ in range(TEN):
                clock.advance(1)
            assert server.open_connections == 0
