"""The steps that create runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from backend.repositories import Repositories
from backend.repositories.agent_run_repository import RUN_MEMBERS
from backend.repositories.paging import row_json
from backend.repositories.run_queue_repository import RunDefaults, TakenNumbers
from backend.schemas.runs import AgentRunCreate
from backend.services.kinds import Kind
from backend.services.recording import AuditEvent


class NewRun(NamedTuple):
    """A run that was just created."""

    id: int
    json: bytes
    event: AuditEvent
    """What has to be recorded."""


async def defaults_of_runs(
    repositories: Repositories, runs: Sequence[AgentRunCreate]
) -> dict[int, RunDefaults]:
    """What the projects of these runs give them, by project, without those that are missing or
    deleted."""
    return await repositories.run_queues.run_defaults(
        list(dict.fromkeys(run.project_id for run in runs))
    )


async def add_runs(
    repositories: Repositories,
    runs: Sequence[AgentRunCreate],
    defaults: Mapping[int, RunDefaults],
) -> list[NewRun]:
    """Create pending runs, numbered and queued in their order, inside a transaction. Returns them
    in this order. Their events have to be recorded.

    They take `auto_merge_enabled` from their projects, and note the versions of the settings.
    """
    taken = await repositories.run_queues.take_numbers(Counter(run.project_id for run in runs))
    following = {project_id: numbers.first for project_id, numbers in taken.items()}
    rows = []
    for run in runs:
        project_id = run.project_id
        merges, settings_version = defaults[project_id]
        rows.append(
            {
                "project_id": project_id,
                "run_number": following[project_id],
                "target_text": run.target_text,
                "planning_statement": run.planning_statement,
                "run_type": run.run_type,
                "metadata": run.metadata,
                "auto_merge_enabled": merges,
                "settings_version": settings_version,
            }
        )
        following[project_id] += 1
    stored = await repositories.runs.add_rows(rows)
    first = {row["project_id"]: row["id"] for row in reversed(stored)}
    await _enqueue(repositories, taken, first)
    return [
        NewRun(
            row["id"],
            row_json(row, RUN_MEMBERS),
            AuditEvent(
                Kind.AGENT_RUN_CREATED,
                f"agent_runs/{row['id']}",
                run.project_id,
                _created_fields(frozenset(run.model_fields_set)),
                1,
            ),
        )
        for run, row in zip(runs, stored, strict=True)
    ]


async def _enqueue(
    repositories: Repositories, taken: Mapping[int, TakenNumbers], first: Mapping[int, int]
) -> None:
    """Note for each project that its first new run is pending, unless an older one is."""
    for project_id, numbers in taken.items():
        # In a queue with waiting runs, the statement would change nothing.
        if numbers.next_run_id is None or numbers.next_run_id > first[project_id]:
            await repositories.run_queues.enqueue(project_id, first[project_id])


@lru_cache(maxsize=256)
def _created_fields(given: frozenset[str]) -> tuple[str, ...]:
    return tuple(given - {"project_id"})
