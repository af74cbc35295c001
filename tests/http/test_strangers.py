"""Requests of strangers are counted, and reported from time to time; they write no row and fill no
log."""

import contextlib
import io
import json
import socket
import struct
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.cli.all_connections import Connections
from backend.cli.connections import ConnectionLimits
from backend.main import create_app
from config.settings import Settings
from tests.support.clients import token_of_first_start
from tests.support.clocks import TickingClock
from tests.support.servers import RunningServer

UPGRADE = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"
NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "noise": bytes(range(256)) * 8,
    "a line": b"hello\r\n\r\n",
    "no such method": b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
    "no such version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "a bad header": b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    "a NUL": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bad length": b"POST /api/logs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a bad chunk": (
        b"POST /api/logs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
    ),
}
REFUSED = {
    "a bad URL": b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
}
"""Requests that the ordinary metrics count."""
UPGRADES = {
    "a WebSocket": UPGRADE % b"websocket",
    "HTTP/2": UPGRADE % b"h2c",
    "anything": UPGRADE % b"x",
    "a WebSocket with more behind": UPGRADE % b"websocket" + bytes(100),
}
CUT_OFF = {
    "nothing": b"",
    "half a line": b"GET /hea",
    "half a head": b"GET /health HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /api/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    "two requests and a half": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET /",
    "an expectation": (
        b"POST /api/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    ),
}


@pytest.fixture
def clock() -> TickingClock:
    """The clock that the server uses for connections."""
    return TickingClock()


@pytest.fixture
def server(settings: Settings, clock: TickingClock) -> Iterator[RunningServer]:
    """A server with that clock."""
    limits = ConnectionLimits(head_bytes=4096)
    with RunningServer(create_app(settings), Connections(limits, clock)) as server:
        yield server


def send(server: RunningServer, data: bytes) -> None:
    """Send, and wait until the server has answered or closed the connection."""
    with contextlib.suppress(ConnectionError), contextlib.closing(server.connect()) as connection:
        connection.sendall(data)
        connection.recv(65536)


def break_off(server: RunningServer, data: bytes) -> None:
    """Send and reset the connection, as a killed process does."""
    with contextlib.suppress(ConnectionError), contextlib.closing(server.connect()) as connection:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def grave(log: io.StringIO) -> list[dict[str, object]]:
    """The lines from WARNING up."""
    lines = map(json.loads, log.getvalue().splitlines())
    return [line for line in lines if line["level"] not in ("debug", "info")]


def refused(client: httpx.Client) -> dict[str, float]:
    """The values of the metric, by reason."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    [family] = [one for one in families if one.name == "strongroom_connections_refused"]
    return {s.labels["reason"]: s.value for s in family.samples if s.name.endswith("_total")}


def test_what_strangers_send_is_counted_and_writes_no_row(
    server: RunningServer, settings: Settings, clock: TickingClock, log: io.StringIO
) -> None:
    log.truncate(0)
    with server.client(token_of_first_start(settings)) as client:
        for _ in range(3):
            for data in (*NO_HTTP.values(), *UPGRADES.values(), *REFUSED.values()):
                send(server, data)
            send(server, b"GET / HTTP/1.1\r\nX: " + b"x" * 5000)
            for data in CUT_OFF.values():
                break_off(server, data)
        counted = refused(client)
        assert counted["not_http"] >= 3 * len(NO_HTTP)
        assert counted["upgrade"] == 3 * len(UPGRADES)
        assert counted["headers_too_large"] == 3
        # One line for all of them, and then none for a minute.
        clock.advance(1)
        [line] = grave(log)
        assert counted.pop("slow") == counted.pop("too_many") == counted.pop("uri_too_long") == 0
        told = {name: line[name] for name in ("not_http", "upgrade", "headers_too_large")}
        assert told == counted
        for _ in range(50):
            send(server, NO_HTTP["a line"])
        clock.advance(30)
        assert len(grave(log)) == 1
        clock.advance(31)
        assert [line["not_http"] for line in grave(log)[1:]] == [50]
        # None of it is stored as a log.
        runtime = server.app.state.runtime
        server.submit(runtime.own_logs.store_waiting()).result(timeout=30)
        assert client.get("/api/logs").json()["logs"] == []


def test_an_upgrade_is_served_as_if_it_had_not_been_asked_for(server: RunningServer) -> None:
    with contextlib.closing(server.connect()) as connection:
        connection.sendall(UPGRADES["a WebSocket"])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
