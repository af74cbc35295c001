"""Streams of events, and requests that wait: how late they are, what they cost writes and other
requests, and their memory.

One program holds all streams, so that with 2,000 of them it also takes a processor.
"""

import asyncio
import json
import re
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from bench import waits, wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME
from bench.goals import CONNECTIONS
from bench.options import Options
from bench.processes import BenchError, Server
from bench.results import Results
from bench.workloads import PROJECTS, project_body

SOME, MANY = 100, 2000
WRITES_PER_SECOND = {SOME: 500, MANY: 5}
"""With 2,000 streams, each of these writes is sent four thousand times."""
WRITERS = 16
"""Connections that send these writes."""
HEALTH_PAUSE = 0.02
_AT = re.compile(rb'"at":"([^"]+)"')
FIGURES = (
    *(f"streams.{name}.{field}" for name in ("some", "many") for field in ("p50", "p99")),
    *(f"streams.{name}.writes_per_second" for name in ("some", "many")),
    "streams.health.p50",
    "streams.health.p99",
    "streams.kib_each",
    *(f"streams.creates.{name}" for name in ("without", "with")),
    *(f"streams.{name}" for name in waits.FIGURES),
)


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure streams. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    many = MANY if not options.quick else MANY // 10
    for number in range(options.rounds):
        data_dir = folder / f"data-{number}"
        with strongroom.running(data_dir) as server:
            token = strongroom.token(data_dir)
            with Client(server.port, token) as client:
                seed(client)
            asyncio.run(_measure(server, token, options, many, results))


async def _measure(
    server: Server, token: str, options: Options, many: int, results: Results
) -> None:
    seconds = options.seconds

    def add(name: str, value: float) -> None:
        results.figures.setdefault(f"streams.{name}", []).append(value)

    def add_wait(name: str, value: float) -> None:
        add(f"waits.{name}", value)

    # First, while the database is small and nothing waits to be indexed.
    await waits.measure(server, token, seconds, add_wait, quick=options.quick)
    creates = wrk.Requests("create", token, PROJECTS)

    async def created() -> float:
        load = await asyncio.to_thread(
            wrk.load, server.port, creates, connections=CONNECTIONS, seconds=seconds
        )
        return load.per_second

    await created()
    add("creates.without", await created())
    numbers = iter(range(10_000_000, 20_000_000))
    # They follow another project: no client could read what so many creates cause, 100 times.
    async with _streams(server.port, token, SOME, "?project_id=1"):
        add("creates.with", await created())
    async with _streams(server.port, token, SOME) as open_ones:
        late = _lateness(server, token, open_ones, seconds, numbers, WRITES_PER_SECOND[SOME])
        for name, value in await late:
            add(f"some.{name}", value)
    before = server.memory_mib("VmRSS")
    async with _streams(server.port, token, many) as open_ones:
        add("kib_each", (server.memory_mib("VmRSS") - before) * 1024 / many)
        probing = asyncio.create_task(_health(server.port, seconds))
        late = _lateness(server, token, open_ones, seconds, numbers, WRITES_PER_SECOND[MANY])
        for name, value in await late:
            add(f"many.{name}", value)
        taken = sorted(await probing)
        add("health.p50", statistics.median(taken))
        add("health.p99", taken[int(len(taken) * 0.99)])


class _Stream(asyncio.Protocol):
    """A client that reads, and remembers how late the events were."""

    def __init__(self, token: str, query: str) -> None:
        self._token = token
        self._query = query
        self.began = asyncio.get_running_loop().create_future()
        self.late: list[float] | None = None
        """Seconds from the time of each change, before its COMMIT, to its arrival; `None` while
        they are not measured."""
        self.received_at = 0.0
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a connection is one
        self.transport = transport
        transport.write(
            b"GET /api/events%b HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            b"Authorization: Bearer %b\r\n\r\n" % (self._query.encode(), self._token.encode())
        )

    def data_received(self, data: bytes) -> None:
        self.received_at = time.monotonic()
        if not self.began.done():
            if b"event: ready" in data:
                self.began.set_result(None)
            return
        if self.late is not None:
            now = time.time()
            self.late += [now - _seconds(at) for at in _AT.findall(data)]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        self.is_lost = True
        if not self.began.done():
            self.began.set_exception(BenchError("a stream was refused"))


def _seconds(at: bytes) -> float:
    return datetime.fromisoformat(at.decode()).timestamp()


@asynccontextmanager
async def _streams(
    port: int, token: str, count: int, query: str = ""
) -> AsyncIterator[Sequence[_Stream]]:
    """Open streams. Raises `BenchError` when one is refused or breaks off."""
    loop = asyncio.get_running_loop()
    streams: list[_Stream] = []
    while len(streams) < count:
        # In portions, so that the queue of new connections has room.
        some = [
            (await loop.create_connection(lambda: _Stream(token, query), "127.0.0.1", port))[1]
            for _ in range(min(50, count - len(streams)))
        ]
        await asyncio.gather(*(stream.began for stream in some))
        streams += some
    try:
        yield streams
        lost = sum(stream.is_lost for stream in streams)
        if lost:
            raise BenchError(f"{lost} of {count} streams broke off")
    finally:
        for stream in streams:
            stream.transport.abort()


async def _settled(streams: Sequence[_Stream]) -> None:
    """Wait until nothing more arrives."""
    quiet = 0.0
    while quiet < 1:
        await asyncio.sleep(1 - quiet)
        quiet = time.monotonic() - max(stream.received_at for stream in streams)


async def _lateness(
    server: Server,
    token: str,
    streams: Sequence[_Stream],
    seconds: float,
    numbers: Iterator[int],
    writes_per_second: int,
) -> list[tuple[str, float]]:
    # A few of them are looked at, because the program that reads them shares the processors.
    looked_at = streams[:: max(1, len(streams) // 5)]
    for stream in looked_at:
        stream.late = []
    rate = writes_per_second / WRITERS
    began = time.monotonic()
    counts = await asyncio.gather(
        *(_write(server.port, token, rate, began + seconds, numbers) for _ in range(WRITERS))
    )
    took = time.monotonic() - began
    await _settled(looked_at)
    late = sorted(late for stream in looked_at for late in stream.late or ())
    if not late:
        raise BenchError("no event arrived")
    return [
        ("p50", statistics.median(late) * 1000),
        ("p99", late[int(len(late) * 0.99)] * 1000),
        ("writes_per_second", sum(counts) / took),
    ]


async def _write(port: int, token: str, rate: float, end: float, numbers: Iterator[int]) -> int:
    """Send writes at this rate, one after the other. Returns their number."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0
    due = time.monotonic()
    while time.monotonic() < end:
        body = json.dumps(project_body(next(numbers))).encode()
        writer.write(
            b"POST /api/projects HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (token.encode(), len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 201 " not in head:
            raise BenchError(f"a write was answered {head[:20]!r}")
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        await reader.readexactly(int(found[1]) if found else 0)
        sent += 1
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    writer.close()
    return sent


async def _health(port: int, seconds: float) -> list[float]:
    """Milliseconds of `/health`, one request after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        await reader.readexactly(int(found[1]) if found else 0)
        taken.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(HEALTH_PAUSE)
    writer.close()
    return taken
