"""Connections that are slow, idle or open when the server has to stop."""

import contextlib
import json
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.disks import GOOD, wait_for_more
from tests.faults.processes import GRACE
from tests.faults.site import Site, Skipped, Tally
from tests.faults.writes import Fate, Kind
from tests.support.processes import PATIENCE, Serving

SLOW = IDLE = 500
"""Connections of each kind."""
DESCRIPTORS = 2 * (SLOW + IDLE) + 500
CLOSED_AFTER = 12
"""Seconds after which the server has closed a slow connection."""
READERS = 8
PIPELINED = 40
"""Requests that a slow reader sends before it reads: their answers exceed all buffers."""
STREAMS = 200
STREAMS_END = 3.0
"""Seconds within which a server with these streams ends."""
FOLLOW = (
    "GET /api/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
    "Authorization: Bearer {token}\r\n\r\n"
)
LOGS_TO_READ = 60
"""Writes of logs before the first read."""
READ = (
    "GET /api/logs?limit=500 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
)


def _connected(serving: Serving, stack: contextlib.ExitStack, buffer: int = 0) -> socket.socket:
    host, _, port = serving.url.removeprefix("http://").partition(":")
    connection = stack.enter_context(socket.socket())
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(PATIENCE)
    connection.connect((host, int(port)))
    return connection


def _request(site: Site, serving: Serving) -> tuple[bytes, bytes]:
    """The head and body of a write that will not be sent completely."""
    write = site.ledger.intend(Kind.LOGS)
    write.fate = Fate.REFUSED
    method, path, fields = write.request(0)
    body = json.dumps(fields).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {serving.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode(), body


@contextlib.contextmanager
def _many_descriptors() -> Iterator[None]:
    """Raise the limit of open files for these connections, also for the server. Raises
    `Skipped`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        raise Skipped(f"setrlimit allows {hard} open files, and {DESCRIPTORS} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def slow_connections(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """Some connections send one byte of a head or body per second, others send nothing, while
    others are served. A round takes a second."""
    site = Site(directory / "site", tally, seed)
    with _many_descriptors(), site.serving() as serving, contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            _connected(serving, stack)
        slow = {_connected(serving, stack): _slow_request(site, serving, n) for n in range(SLOW)}
        tally.note("slow connections", len(slow))
        tally.note("idle connections", IDLE)
        with site.load(serving), serving.client() as client:
            for _ in range(rounds):
                before, began = site.ledger.count()[Fate.ACKNOWLEDGED], time.monotonic()
                assert client.get("/ready").status_code == 200
                _send_a_byte(slow)
                time.sleep(max(0.0, began + 1 - time.monotonic()))
                assert site.ledger.count()[Fate.ACKNOWLEDGED] > before, "no other client is served"
                tally.rounds += 1
        assert set(site.ledger.statuses()) <= {*GOOD, None}
        closed = sum(not rest for rest in slow.values())
        tally.note("slow connections closed by the server", closed)
        if closed and rounds > CLOSED_AFTER:
            assert closed == len(slow), "not all slow connections are closed"
        stack.close()
        assert serving.end(within=GRACE) == 0
    site.check()
    site.done()


def _slow_request(site: Site, serving: Serving, number: int) -> tuple[bytes, bytes]:
    """The part that is sent at once, and the rest that follows byte by byte."""
    head, body = _request(site, serving)
    return (head, body) if number % 2 else (b"", head)


def _send_a_byte(slow: dict[socket.socket, tuple[bytes, bytes]]) -> None:
    for connection, (first, rest) in slow.items():
        if not rest:
            continue
        try:
            connection.sendall(first + rest[:1])
            slow[connection] = b"", rest[1:]
        except ConnectionError:
            slow[connection] = b"", b""


def open_streams(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGTERM under load, while 200 clients follow events. None is missing between those that a
    client got."""
    site = Site(directory / "site", tally, seed)
    for _ in range(rounds):
        with (
            site.serving() as serving,
            contextlib.ExitStack() as stack,
            site.load(serving) as load,
        ):
            request = FOLLOW.format(token=serving.token).encode()
            streams = [_connected(serving, stack) for _ in range(STREAMS)]
            for stream in streams:
                stream.sendall(request)
            told = [_read_to(stream, b"event: ready") for stream in streams]
            site.pause(0.3)
            began = time.monotonic()
            serving.process.send_signal(signal.SIGTERM)
            told = [text + _read_to(one, b"") for text, one in zip(told, streams, strict=True)]
            assert serving.finish(within=GRACE) == 0
            took = time.monotonic() - began
            assert took < STREAMS_END, f"the end took {took:.1f} s"
            tally.note("milliseconds until the end", round(1000 * took))
            load.wait()
        for text in told:
            ids = [int(id) for id in re.findall(rb'data: {"id":(\d+),', text)]
            assert ids == list(range(min(ids, default=0), max(ids, default=-1) + 1))
            tally.note("events told", len(ids))
        site.check()
        tally.note("open streams", len(streams))
        tally.rounds += 1
    site.done()


def _read_to(stream: socket.socket, mark: bytes) -> bytes:
    """What arrives up to the mark, or up to the end."""
    text = b""
    with contextlib.suppress(ConnectionError):
        while not mark or mark not in text:
            some = stream.recv(65536)
            if not some:
                break
            text += some
    return text


def unread_answers(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGTERM under load, while some clients don't read their answers and others have sent only a
    part of their requests."""
    site = Site(directory / "site", tally, seed)
    for _ in range(rounds):
        with (
            site.serving() as serving,
            contextlib.ExitStack() as stack,
            site.load(serving) as load,
        ):
            wait_for_more(site, LOGS_TO_READ)
            for _ in range(READERS):
                reader = _connected(serving, stack, buffer=4096)
                reader.sendall(READ.format(token=serving.token).encode() * PIPELINED)
                head, body = _request(site, serving)
                half = body[: site.chance.randrange(len(body))]
                _connected(serving, stack).sendall(head + half)
            site.pause(0.3)
            began = time.monotonic()
            assert serving.end(within=GRACE) == 0
            tally.note("milliseconds until the end", round(1000 * (time.monotonic() - began)))
            load.wait()
        site.check()
        tally.note("open requests", 2 * READERS)
        tally.rounds += 1
    site.done()
