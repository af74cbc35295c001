"""The cost of guarded rows: a create and an unkept reveal with and without what guards them.

Both are measured in turns, in one process and without a network, as processor time of the whole
process: 64 are waiting at once, so that they share commits. "Without" computes no digests, compares
none, and keeps no head before a reveal; all else is the same.
"""

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop

from backend.repositories.audit_repository import UnnumberedRow
from backend.repositories.guarded_rows import GuardedRowsRepository
from backend.repositories.project_secrets_repository import (
    ProjectSecretsRepository,
    StoredSecret,
)
from backend.runtime import Runtime
from backend.schemas.projects import ProjectCreate
from backend.services.guard import Guard
from backend.services.recording import Recorder
from bench.workloads import project_body
from config.settings import Settings

WAITING = 64
CALLS = 256
SEEDED = 200


class Unguarded:
    """Takes away, for a block, what guards rows."""

    def __init__(self, runtime: Runtime) -> None:
        self._end = runtime.service.audit.end
        self._keeper = self._end.keeper
        self._kept: list[tuple[type, str, Any]] = []

    def __enter__(self) -> None:
        self._end.keeper = None
        self._replace(Recorder, "_numbered", _without_digests)
        self._replace(Guard, "forged", _nothing)
        self._replace(GuardedRowsRepository, "newest", _no_entry)
        self._replace(ProjectSecretsRepository, "get_recorded", _unrecorded)
        self._replace(Guard, "is_genuine_row", _genuine)

    def __exit__(self, *_: object) -> None:
        self._end.keeper = self._keeper
        for owner, name, method in self._kept:
            setattr(owner, name, method)
        self._kept.clear()

    def _replace(self, owner: type, name: str, method: Callable[..., Any]) -> None:
        self._kept.append((owner, name, getattr(owner, name)))
        setattr(owner, name, method)


async def _nothing(*_: object) -> dict[int, str]:
    return {}


async def _without_digests(
    recorder: Recorder, _: object, rows: Sequence[UnnumberedRow], first_id: int
) -> list[tuple[Any, ...]]:
    recorder._written = []
    return [(id, *row[:9], None, row[9]) for id, row in enumerate(rows, first_id)]


async def _no_entry(*_: object) -> None:
    return None


async def _unrecorded(
    secrets: ProjectSecretsRepository, project_id: int, key: str
) -> tuple[StoredSecret | None, None]:
    return await secrets.get(project_id, key), None


def _genuine(*_: object) -> bool:
    return True


async def measure(data_dir: Path, rounds: int) -> dict[str, float]:
    """Microseconds of processor time, by metric: the medians of all rounds."""
    runtime = await Runtime.start(Settings(_env_file=None, data_dir=data_dir))
    service = runtime.service
    numbers = iter(range(10**9))

    def create() -> Awaitable[object]:
        body = ProjectCreate.model_validate(project_body(next(numbers)))
        return service.projects.create(body)

    def reveal() -> Awaitable[object]:
        return service.secrets.reveal(1 + next(numbers) % SEEDED, "API_KEY")

    try:
        await asyncio.gather(*(create() for _ in range(SEEDED)))
        taken: dict[str, list[float]] = {}
        for number in range(2 * rounds):
            for name, call in (("create", create), ("reveal", reveal)):
                if number % 2:
                    taken.setdefault(f"guard.{name}.with", []).append(await _timed(call))
                else:
                    with Unguarded(runtime):
                        taken.setdefault(f"guard.{name}.without", []).append(await _timed(call))
    finally:
        await runtime.stop()
    figures = {name: statistics.median(values) for name, values in taken.items()}
    for name in ("create", "reveal"):
        # In pairs, because the machine's speed changes more from second to second than what is
        # measured.
        pairs = zip(taken[f"guard.{name}.with"], taken[f"guard.{name}.without"], strict=True)
        figures[f"guard.{name}.more"] = statistics.median(more - less for more, less in pairs)
    return figures


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    """Microseconds for each call."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    for _ in range(CALLS // WAITING):
        await asyncio.gather(*(call() for _ in range(WAITING)))
    seconds = time.process_time() - began
    gc.enable()
    return seconds / CALLS * 1e6


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        found = uvloop.run(measure(Path(folder) / "data", arguments.rounds))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
