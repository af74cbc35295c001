"""A process that is killed while it removes old entries of the audit leaves the audit whole."""

from pathlib import Path

from database.connection_manager import DatabaseManager
from tests.retention.audit_data import add, ids, problem
from tests.retention.data import DAY
from tests.retention.killed import killed_at_every, opened, remove_old
from tests.support.clocks import SetClock
from tests.support.forked import Forked
from tests.support.processes import PATIENCE, environment

AGE = 50 * DAY


async def test_killed_at_any_statement_the_audit_is_whole_and_the_next_removal_goes_on(
    database_path: Path, tmp_path: Path, clock: SetClock
) -> None:
    async with opened(database_path, clock) as service:
        await add(service, "x!", "w", "y!", "x!", "v", "z!", "u")
        clock.advance(AGE)
        # Entries that stay at first, and go in the second phase.
        await add(service, "y!", "end")
    directory = tmp_path / "killed"
    directory.mkdir()
    arguments: list[str | Path] = [database_path, directory, str(AGE)]
    with Forked(arguments, cwd=tmp_path, env=environment(), function=killed_at_every) as process:
        assert process.wait(PATIENCE) == 0
    numbers = range(1, len(list(directory.glob("*.db"))) + 1)
    found, left = set(), set()
    for number in numbers:
        path = directory / f"{number}.db"
        async with opened(path, clock) as service:
            assert problem(service) is None
            found.add(tuple(ids(service.db_manager)))
        if number % 3 == 0 or number == numbers[-1]:
            await remove_old(path, clock)
            manager = DatabaseManager(path)
            left.add(tuple(ids(manager)))
            manager.sync_pool.close()
    # It was killed before, between and after the steps.
    assert len(found) >= 3
    assert len(left) == 1
    assert left < found
