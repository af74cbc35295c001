"""Requests that wait for changes: how soon they are answered, and what they cost."""

import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from bench.processes import BenchError, Server

IDLE = 1000
"""Requests that wait while nothing happens, half of them claims."""
IDLE_SECONDS = 10.0
"""The least time for which their cost is measured."""
SAME = 500
"""Requests that wait for a change of the same resource."""
SAME_CHANGES = 5
PAUSE_SECONDS = (0.05, 0.25)
"""The bounds of the pause between a change that was told and the next."""
CLAIMED_PROJECT = 2
FIGURES = (
    *(f"waits.{name}.{field}" for name in ("read", "claim") for field in ("p50", "p99", "behind")),
    "waits.idle.without",
    "waits.idle.with",
    "waits.same.asked",
    "waits.same.last",
)
_ASKED = re.compile(
    r'^strongroom_waits_asked_total{kind="(?:reads|arrivals)"} (\S+)$', re.MULTILINE
)
_OPEN = re.compile(r"^strongroom_waits_open{\S+ (\S+)$", re.MULTILINE)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_TAG = re.compile(rb"etag: (\S+)", re.IGNORECASE)
_FOLLOWED = "/api/projects/1"
_CLAIM = "/api/agent-runs/claim"


class Connection:
    """One connection, for one request after the other."""

    def __init__(
        self, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._token = token
        self._reader = reader
        self.writer = writer

    def send(self, method: str, path: str, body: object = None, *headers: str) -> None:
        """Send a request."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self._token}",
            *headers,
        ]
        if content:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + content)

    async def answer(self, *statuses: int) -> tuple[bytes, bytes]:
        """The head and the body of the next answer. Raises `BenchError` for another status."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        if int(head.split()[1]) not in statuses:
            raise BenchError(f"a request was answered {head[:30]!r}")
        found = _LENGTH.search(head)
        return head, await self._reader.readexactly(int(found[1]) if found else 0)

    async def tag(self) -> str:
        """The present tag of the resource that is followed."""
        self.send("GET", _FOLLOWED)
        return _tag_in((await self.answer(200))[0])

    def follow(self, tag: str) -> None:
        """Wait until it has another tag."""
        self.send("GET", _FOLLOWED, None, f"If-None-Match: {tag}", "Prefer: wait=60")

    def claim(self) -> None:
        """Wait for a run."""
        self.send("POST", _CLAIM, {"worker": "w"}, "Prefer: wait=60")


def _tag_in(head: bytes) -> str:
    found = _TAG.search(head)
    if found is None:
        raise BenchError("an answer has no ETag")
    return found[1].decode()


async def measure(
    server: Server, token: str, seconds: float, add: Callable[[str, float], None], *, quick: bool
) -> None:
    """Measure requests that wait. Raises `BenchError`."""
    share = 10 if quick else 1
    async with _connections(server.port, token, 2) as (waiting, changing):
        for name, late in (
            ("read", await _reads(waiting, changing, seconds)),
            ("claim", await _claims(waiting, changing, seconds)),
        ):
            taken = sorted(one.taken for one in late)
            behind = sorted(one.behind for one in late)
            add(f"{name}.p50", statistics.median(taken))
            add(f"{name}.p99", taken[int(len(taken) * 0.99)])
            add(f"{name}.behind", behind[int(len(behind) * 0.99)])
    await asyncio.to_thread(server.settle)
    lasting = max(seconds, IDLE_SECONDS / share)
    add("idle.without", await _processor_share(server, lasting))
    async with (
        _connections(server.port, token, IDLE // share) as idle,
        _connections(server.port, token, 1) as (asking,),
    ):
        tag = await asking.tag()
        for number, one in enumerate(idle):
            if number % 2:
                one.claim()
            else:
                one.follow(tag)
        await _all_wait(asking, len(idle))
        await asyncio.to_thread(server.settle)
        add("idle.with", await _processor_share(server, lasting))
    async with (
        _connections(server.port, token, SAME // share) as same,
        _connections(server.port, token, 1) as (changing,),
    ):
        asked, last = await _same(same, changing)
        add("same.asked", asked)
        add("same.last", last)


@asynccontextmanager
async def _connections(port: int, token: str, count: int) -> AsyncIterator[Sequence[Connection]]:
    made: list[Connection] = []
    try:
        while len(made) < count:
            # In portions, so that the queue of new connections has room.
            some = [
                asyncio.open_connection("127.0.0.1", port)
                for _ in range(min(50, count - len(made)))
            ]
            made += [Connection(token, *streams) for streams in await asyncio.gather(*some)]
        yield made
    finally:
        for one in made:
            one.writer.close()


class Told(NamedTuple):
    """How long a change took to reach a request that waits for it, in milliseconds."""

    taken: float
    """From the sending of the change to the answer of the request."""
    behind: float
    """From the answer to the change; negative if that came later."""


async def _told(
    seconds: float, wait: Callable[[], None], change: Callable[[int], Awaitable[Told]]
) -> list[Told]:
    """Changes for which a request waits, one after the other."""
    late: list[Told] = []
    end = time.monotonic() + seconds
    number = 0
    pauses = random.Random(1)  # noqa: S311 - for repetition
    while time.monotonic() < end or not late:
        wait()
        await asyncio.sleep(pauses.uniform(*PAUSE_SECONDS))
        late.append(await change(number))
        number += 1
    return late


async def _changed(waiting: Connection, changing: Connection, status: int) -> tuple[Told, bytes]:
    """How long the change that was just sent took, and the head of the answer that waited
    for it."""

    async def arrived(connection: Connection, status: int) -> tuple[float, bytes]:
        head, _ = await connection.answer(status)
        return time.perf_counter(), head

    began = time.perf_counter()
    (told, head), (done, _) = await asyncio.gather(arrived(waiting, 200), arrived(changing, status))
    return Told((told - began) * 1000, (told - done) * 1000), head


async def _reads(waiting: Connection, changing: Connection, seconds: float) -> list[Told]:
    tag = await changing.tag()

    def wait() -> None:
        waiting.follow(tag)

    async def change(number: int) -> Told:
        nonlocal tag
        changing.send("PATCH", _FOLLOWED, {"name": f"name {number}"})
        told, head = await _changed(waiting, changing, 200)
        tag = _tag_in(head)
        return told

    return await _told(seconds, wait, change)


async def _claims(waiting: Connection, changing: Connection, seconds: float) -> list[Told]:
    # What an earlier section has left pending would be claimed first.
    while True:
        changing.send("POST", _CLAIM, {"worker": "w", "count": 100})
        head, _ = await changing.answer(200, 204)
        if b" 204 " in head:
            break

    async def change(_: int) -> Told:
        run = {"project_id": CLAIMED_PROJECT, "target_text": "t"}
        changing.send("POST", "/api/agent-runs", run)
        return (await _changed(waiting, changing, 201))[0]

    return await _told(seconds, waiting.claim, change)


async def _metrics(asking: Connection) -> str:
    asking.send("GET", "/metrics")
    return (await asking.answer(200))[1].decode()


async def _all_wait(asking: Connection, count: int) -> None:
    opened = 0.0
    while opened < count:
        opened = sum(map(float, _OPEN.findall(await _metrics(asking))))


async def _processor_share(server: Server, seconds: float) -> float:
    """The percentage of a processor that the server uses."""
    before, began = server.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.monotonic() - began) * 100


async def _same(same: Sequence[Connection], changing: Connection) -> tuple[float, float]:
    """How often the database was asked for each change and all that ask again afterwards, and the
    milliseconds until the last one had its answer, on average."""
    tag = await changing.tag()
    before = took = 0.0
    for number in range(SAME_CHANGES):
        for one in same:
            one.follow(tag)
        await _all_wait(changing, len(same))
        if not number:
            before = await _asked(changing)
        began = time.perf_counter()
        changing.send("PATCH", _FOLLOWED, {"name": f"same {number}"})
        heads = await asyncio.gather(*(one.answer(200) for one in same))
        took += time.perf_counter() - began
        await changing.answer(200)
        tag = _tag_in(heads[0][0])
    for one in same:
        one.follow(tag)
    await _all_wait(changing, len(same))
    asked = await _asked(changing) - before
    return asked / SAME_CHANGES, took * 1000 / SAME_CHANGES


async def _asked(asking: Connection) -> float:
    return sum(map(float, _ASKED.findall(await _metrics(asking))))
