"""The audit by the million: how fast it is verified, and how fast old entries are removed.

`python -m bench.audit` makes a data directory whose audit has a million old entries, verifies it,
also beside a running server, and removes them during reads and writes. It prints its figures.
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.repositories.audit_repository import AuditRow, UnnumberedRow
from backend.repositories.guarded_kinds import GUARDED_KINDS
from backend.repositories.guarded_rows import GuardedRow
from backend.runtime import Runtime
from bench.client import Client
from bench.contestants import ROOT, strongroom_program
from bench.logs import PROJECTS, Beside, _show, serving
from bench.machine import machine
from bench.processes import environment
from config.settings import Settings
from database.base import time_text

BATCH = 1000
OLD_DAYS = 100
TARGETS = 20_000
"""The number of guarded rows that the entries are about, whose newest entries stay."""
MACS = 100_000

_KINDS = (
    ("secret.revealed", "projects/{}/secrets/KEY_{}", False),
    ("secret.updated", "projects/{}/secrets/KEY_{}", True),
    ("settings.updated", "projects/{}/configuration", True),
    ("project.updated", "projects/{}", True),
    ("agent_run.created", "agent_runs/{}{}", False),
    ("agent_run.completed", "agent_runs/{}{}", False),
)
_ACTORS = ("deploy", "ci", "planner", "admin", "worker-1", "worker-2")


class Source:
    """Generates the same entries in every run."""

    def __init__(self, begin: datetime) -> None:
        self._random = random.Random(1)  # noqa: S311
        self._at = begin

    def rows(self, count: int) -> Iterator[UnnumberedRow]:
        """The next entries, a second apart."""
        rng = self._random
        for _ in range(count):
            self._at += timedelta(seconds=1)
            kind, target, is_guarded = rng.choice(_KINDS)
            actor = rng.randrange(len(_ACTORS))
            # Not ids of the projects that requests are about.
            project = 1_000_000 + rng.randrange(TARGETS // 20)
            number = rng.getrandbits(64)
            named = target.format(project, number % 18)
            yield UnnumberedRow(
                time_text(self._at),
                _ACTORS[actor],
                actor + 1,
                kind,
                named,
                project,
                '["branch_name","planning_statement"]' if is_guarded else "[]",
                f"{number >> 16:012x}-{number & 0xFFFFFFFF:08x}",
                rng.randrange(1, 50),
                f"192.0.2.{actor}",
                _deleted_row(named) if is_guarded else None,
            )


def _deleted_row(target: str) -> GuardedRow:
    """A row of the target's kind that was deleted, so that verification misses none."""
    return GuardedRow(next(kind for kind in GUARDED_KINDS if kind.targets.fullmatch(target)), None)


async def fill(data_dir: Path, entries: int) -> float:
    """Make the installation. Returns entries a second."""
    then = datetime.now(UTC) - timedelta(days=OLD_DAYS)
    runtime = await Runtime.start(Settings(_env_file=None, data_dir=data_dir), clock=lambda: then)
    source = Source(then)
    began = time.perf_counter()
    for _ in range(0, entries, BATCH):
        async with runtime.service.transaction() as repositories:
            await repositories.audit.append(list(source.rows(BATCH)))
    seconds = time.perf_counter() - began
    await runtime.stop()
    return entries / seconds


def measure_mac() -> dict[str, float]:
    """Microseconds for the MAC of an entry, which every write waits for."""
    source = Source(datetime.now(UTC))
    rows = [
        AuditRow(id, *row[:9], None if row.row is None else f"sd1:{id:064x}", row.address)
        for id, row in enumerate(source.rows(MACS), 1)
    ]
    chain, taken = AuditChain(bytes(32)), []
    for _ in range(5):
        mac = ORIGIN
        began = time.thread_time()
        for row in rows:
            mac = chain.mac(mac, row)
        taken.append((time.thread_time() - began) / MACS * 1e6)
    return {"least": round(min(taken), 2), "most": round(max(taken), 2)}


def verify(data_dir: Path) -> dict[str, Any]:
    """How long `strongroom verify` takes, and how many entries of the audit it checks."""
    began, used = time.perf_counter(), _cpu_seconds()
    done = subprocess.run(
        [strongroom_program(), "verify", "--json", "--data-dir", str(data_dir)],
        check=True,
        capture_output=True,
        cwd=data_dir.parent,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    seconds = time.perf_counter() - began
    checks = {check["name"]: check["checked"] for check in json.loads(done.stdout)["checks"]}
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(_cpu_seconds() - used, 1),
        "entries": checks["audit"],
    }


def _cpu_seconds() -> float:
    """The processor time of all processes that have been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_beside_server(data_dir: Path) -> None:
    """Verify while requests are served, then with nothing else, then remove old entries."""
    with serving(data_dir) as (server, token):
        with Client(server.port, token) as client:
            for number in range(PROJECTS):
                body = {"name": "p", "github_owner": "o", "github_repo": f"r{number}"}
                client.require("POST", "/api/projects", body)
        beside = Beside(server.port, token)
        time.sleep(5)
        alone = beside.take()
        _show("verify while serving", verify(data_dir))
        during = beside.take()
        beside.stop()
    _show("requests without it, ms", alone)
    _show("requests beside it, ms", during)


def measure_removal(data_dir: Path) -> None:
    """Latencies during the removal of all old entries, and after it."""
    with serving(data_dir, STRONGROOM_KEEP_AUDIT_DAYS="1") as (server, token):
        beside = Beside(server.port, token)
        with Client(server.port, token) as client:
            while True:
                time.sleep(2)
                prune = client.require("GET", "/api/retention")["prune"]
                if prune is not None and prune["status"] != "running":
                    break
            during = beside.take()
            time.sleep(10)
            after = beside.take()
        beside.stop()
    _show("removal of old entries", {"prune": prune})
    _show("requests beside it, ms", during)
    _show("requests after it, ms", after)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        work = Path(folder)
        data_dir = work / "data"
        _show("machine", machine(work))
        _show("the MAC of an entry, µs", measure_mac())
        rate = asyncio.run(fill(data_dir, options.entries))
        _show("append, in batches of a thousand", {"rows_per_second": round(rate)})
        _show("verify", verify(data_dir))
        measure_beside_server(data_dir)
        measure_removal(data_dir)
        _show("verify afterwards", verify(data_dir))


if __name__ == "__main__":
    main()
