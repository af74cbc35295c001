"""What the package's clients cost more than httpx: the same calls with both, in turns, to the same
server, as processor time of the client's process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from bench.client import Client
from bench.contestants import BY_NAME
from bench.options import Options
from bench.results import Results
from bench.workloads import project_body
from strongroom import AsyncClient
from strongroom import Client as SyncClient

CALLS = 500
"""Calls of each kind in a round."""
IN_A_ROW = 10
"""Calls of one client until the other's turn."""
KINDS = ("read", "create", "read_sync")
FIGURES = tuple(f"client.{kind}.{how}" for kind in KINDS for how in ("httpx", "ours", "more"))
TEXT = "Plan the next release."
RUN = {"project_id": 1, "target_text": TEXT}


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure microseconds a call. httpx does what a program without the package would write: it
    checks the status and reads the JSON. Raises `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        with Client(server.port, token) as seeding:
            seeding.require("POST", "/api/projects", project_body(1))
        url = f"http://127.0.0.1:{server.port}"
        calls = IN_A_ROW * max(10, round(CALLS * options.scale / IN_A_ROW))
        for _ in range(options.few_rounds * 3):
            asyncio.run(_asynchronous(url, token, calls, results))
            _synchronous(url, token, calls, results)


async def _asynchronous(url: str, token: str, calls: int, results: Results) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers) as plain, AsyncClient(url, token) as ours:

        async def read() -> Any:
            return (await plain.get(f"{url}/api/projects/1")).raise_for_status().json()

        async def create() -> Any:
            answer = await plain.post(f"{url}/api/agent-runs", json=RUN)
            return answer.raise_for_status().json()

        async def our_create() -> object:
            return await ours.agent_runs.create(project_id=1, target_text=TEXT)

        for kind, theirs, own in (
            ("read", read, lambda: ours.projects.get(1)),
            ("create", create, our_create),
        ):
            _add(kind, await _taken((theirs, own), calls), calls, results)


async def _taken(both: Sequence[Callable[[], Awaitable[object]]], calls: int) -> list[float]:
    """The seconds of both. They take turns, because the machine's speed changes."""
    for call in both:
        await call()
    seconds = [0.0, 0.0]
    for _ in range(calls // IN_A_ROW):
        for place, call in enumerate(both):
            began = time.process_time()
            for _ in range(IN_A_ROW):
                await call()
            seconds[place] += time.process_time() - began
    return seconds


def _synchronous(url: str, token: str, calls: int, results: Results) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers) as plain, SyncClient(url, token) as ours:

        def read() -> Any:
            return plain.get(f"{url}/api/projects/1").raise_for_status().json()

        def our_read() -> object:
            return ours.projects.get(1)

        read()
        our_read()
        seconds = [0.0, 0.0]
        for _ in range(calls // IN_A_ROW):
            for place, call in enumerate((read, our_read)):
                began = time.process_time()
                for _ in range(IN_A_ROW):
                    call()
                seconds[place] += time.process_time() - began
        _add("read_sync", seconds, calls, results)


def _add(kind: str, seconds: Sequence[float], calls: int, results: Results) -> None:
    plain, ours = (each / calls * 1_000_000 for each in seconds)
    for how, value in (("httpx", plain), ("ours", ours), ("more", ours - plain)):
        results.figures.setdefault(f"client.{kind}.{how}", []).append(value)
