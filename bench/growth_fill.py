"""Fills a new installation with many rows, in the shape that the product gives them.

`python -m bench.growth_fill --work DIR --projects N --runs N --logs N` opens the installation in
`DIR/data` as a server does, and calls the product's own repositories, use cases and audit with a
thousand rows at a time instead of one: so all tables, indexes, audit entries with their MACs and
digests, and words are there, and only the commits are fewer. With plain SQL it changes the status
of nine runs of ten to `completed`, and the times of runs to one second apart.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

from backend.repositories.guarded_kinds import PROJECTS
from backend.repositories.guarded_rows import written_row
from backend.runtime import Runtime, connection_config
from backend.schemas.logs import LogEntry
from backend.schemas.runs import AgentRunCreate
from backend.services.base import unit_of_work
from backend.services.database_service import DatabaseService
from backend.services.kinds import Kind
from backend.services.recording import AuditEvent
from backend.services.runs.new_runs import add_runs, defaults_of_runs
from bench.search import name_of, words
from config.settings import Settings
from database.connection_manager import DatabaseManager
from models import LogLevel

BATCH = 500
PENDING = 10
"""One run of so many stays pending."""
LOG_BATCH = 1_000
WORKERS = 5
RUNS_OF_PROJECT = 100
"""The runs of a project, if there are few; many are spread over a thousand projects."""


class Filler:
    """Adds rows in batches; each is one unit of work."""

    def __init__(self, service: DatabaseService) -> None:
        self.kit = service.kit
        self._service = service
        self._words = words()
        self._chance = Random(5)  # noqa: S311

    @unit_of_work
    async def projects(self, first: int, number: int) -> None:
        """Add projects with ids from `first`."""
        async with self.kit.transaction() as repositories:
            rows = []
            for id in range(first, first + number):
                name, owner, repo = name_of(id, self._words, self._chance)
                rows.append({"name": name, "github_owner": owner, "github_repo": repo})
            added = await repositories.projects.add_rows(rows)
            await self._service.kit.audit.record_all(
                repositories,
                [
                    AuditEvent(
                        Kind.PROJECT_CREATED,
                        f"projects/{row['id']}",
                        row["id"],
                        ("github_owner", "github_repo", "name"),
                        1,
                        row=written_row(PROJECTS, row),
                    )
                    for row in added
                ],
            )

    @unit_of_work
    async def runs(self, first: int, number: int, projects: int) -> None:
        """Add runs with ids from `first`, of which one in `PENDING` stays pending."""
        async with self.kit.transaction() as repositories:
            texts = (" ".join(self._chance.choices(self._words, k=12)) for _ in range(number))
            new = [
                AgentRunCreate(project_id=id % projects + 1, target_text=f"Fix {text} in step {id}")
                for id, text in zip(range(first, first + number), texts, strict=True)
            ]
            added = await add_runs(repositories, new, await defaults_of_runs(repositories, new))
            await self._service.kit.audit.record_all(repositories, [one.event for one in added])
            at = "strftime('%Y-%m-%dT%H:%M:%S', 1700000000 + id, 'unixepoch') || '.000000Z'"
            ids = (added[0].id, added[-1].id)
            await repositories.executor.execute(
                f"UPDATE agent_runs SET created_at = {at}, updated_at = {at}"
                " WHERE id BETWEEN ? AND ?",
                ids,
            )
            await repositories.executor.execute(
                "UPDATE agent_runs SET status = 'completed', started_at = created_at,"
                f" completed_at = created_at, lease_worker = 'worker-' || id % {WORKERS},"
                " lease_token_hash = 'none', lease_expires_at = created_at"
                f" WHERE id BETWEEN ? AND ? AND id % {PENDING} <> 0",
                ids,
            )
            await repositories.executor.execute(
                "UPDATE run_queues SET next_run_id = (SELECT min(id) FROM agent_runs AS r"
                " WHERE r.project_id = run_queues.project_id AND r.status = 'pending')"
                " WHERE project_id IN (SELECT project_id FROM agent_runs WHERE id BETWEEN ? AND ?)",
                ids,
            )

    async def logs(self, number: int) -> None:
        """Add logs."""
        levels = list(LogLevel)
        entries = [
            LogEntry(
                level=levels[self._chance.choices(range(5), (30, 55, 10, 4.9, 0.1))[0]],
                message=" ".join(self._chance.choices(self._words, k=9)),
                component=f"component-{self._chance.randrange(7)}",
                correlation_id=f"{self._chance.getrandbits(64):x}",
                project_id=1 + self._chance.randrange(4),
            )
            for _ in range(number)
        ]
        await self._service.logs.append(entries)


def run_projects(projects: int, runs: int) -> int:
    """The number of projects that the runs are spread over."""
    return max(1, min(1_000, projects, runs // RUNS_OF_PROJECT))


async def fill(data_dir: Path, *, projects: int, runs: int, logs: int) -> dict[str, float]:
    """Fill the installation. Returns how many seconds each kind took."""
    settings = Settings(_env_file=None, data_dir=data_dir, environment="development")
    # The machine may stop this process for a while.
    config = replace(connection_config(settings), queue_timeout=3600.0)
    runtime = await Runtime.start(settings, manager=DatabaseManager(config))
    filler = Filler(runtime.service)
    taken = {}
    try:
        began = time.monotonic()
        for first in range(1, projects + 1, BATCH):
            await filler.projects(first, min(BATCH, projects + 1 - first))
        taken["projects"] = time.monotonic() - began
        began = time.monotonic()
        for first in range(1, runs + 1, BATCH):
            number = min(BATCH, runs + 1 - first)
            await filler.runs(first, number, run_projects(projects, runs))
        taken["runs"] = time.monotonic() - began
        began = time.monotonic()
        for first in range(0, logs, LOG_BATCH):
            await filler.logs(min(LOG_BATCH, logs - first))
        taken["logs"] = time.monotonic() - began
        for name in ("project_index", "run_index"):
            began = time.monotonic()
            index = getattr(runtime.service, name)
            while (await index.index_next()).rows:
                pass
            taken[name] = time.monotonic() - began
    finally:
        await runtime.stop()
    return taken


def main() -> int:
    """Fill, and print how long it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    for kind in ("projects", "runs", "logs"):
        parser.add_argument(f"--{kind}", type=int, required=True)
    given = parser.parse_args()
    taken = asyncio.run(
        fill(
            given.work / "data",
            projects=given.projects,
            runs=given.runs,
            logs=given.logs,
        )
    )
    print(json.dumps(taken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
