"""The ids of the runs that were created in a range of time.

The times of runs rise with their ids, unless the clock was set back, which the indexing notes. So
the ends of a range are found by bisection, without an index by time.
"""

from dataclasses import dataclass

from backend.repositories.following_index import IndexState
from database.engine import Executor


@dataclass(frozen=True, slots=True)
class IdRange:
    """A range of ids, both ends included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        """An upper bound on the number of runs."""
        return max(0, self.last - self.first + 1)


async def ids_created_between(
    db: Executor, state: IndexState, since: str | None, until: str | None
) -> IdRange | None:
    """A range that contains the ids of all runs created between these times, both included, `None`
    for no bound. `None` while too little is known of their order: then all ids are possible."""
    if state.is_far_behind or not state.in_order:
        return None
    first, last = 1, state.newest_id
    if since is not None:
        first = await _first_id(db, state.indexed_id, ">=", since)
    if until is not None and not await _is_any_newer_until(db, state, until):
        last = await _first_id(db, state.indexed_id, ">", until) - 1
    return IdRange(first, last)


async def _first_id(db: Executor, last: int, comparison: str, time: str) -> int:
    """The first id up to `last` whose run was created at or after `time` (`>=`), or after it (`>`);
    the id after `last` if there is none."""
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        row = await db.fetch_one(
            f"SELECT id, created_at {comparison} ? AS is_later FROM agent_runs"
            " WHERE id >= ? ORDER BY id LIMIT 1",
            (time, middle),
        )
        if row is None or row["id"] > last or row["is_later"]:
            high = middle
        else:
            low = row["id"] + 1
    return low


async def _is_any_newer_until(db: Executor, state: IndexState, until: str) -> bool:
    """Whether any run that is not indexed yet was created at or before this time."""
    row = await db.fetch_one(
        "SELECT 1 FROM agent_runs WHERE id > ? AND created_at <= ? LIMIT 1",
        (state.indexed_id, until),
    )
    return row is not None
