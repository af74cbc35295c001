"""An audit whose old entries were removed: any change of its anchor, or of an entry that stayed, is
found."""
# ruff: noqa: S608 - the statements are the damage

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backend.crypto.audit_chain import AuditChain
from backend.repositories.audit_repository import AuditAnchor, AuditRow
from backend.services.audit.verification import verify_audit
from backend.services.operations.audit_retention import AuditDamaged
from backend.services.operations.pruner import Pruner
from database.connection_manager import DatabaseManager
from tests.retention.audit_data import add, ids, problem, prune
from tests.retention.data import DAY, limits, logs_of_days
from tests.support.api import KEYS, Api, open_api
from tests.support.clocks import SetClock

Damage = Callable[..., str | None]
FIRST, SECOND, LAST_PASSED, END = 3, 5, 6, 8
"""Two entries that stayed, the one at the anchor, and the newest."""
COLUMNS = ", ".join([*AuditRow._fields, "mac"])


@pytest.fixture(scope="module")
async def anchored_template(
    database_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Copies of a database: one before a removal, and one after it. Copy them; never open them."""
    directory, clock = tmp_path_factory.mktemp("anchored"), SetClock()
    before, after = directory / "before.db", directory / "after.db"
    path = directory / database_template.name
    shutil.copyfile(database_template, path)
    async with open_api(path, clock) as api:
        await add(api.service, "w", "x!", "x!", "v", "y!", "u")
        clock.advance(50 * DAY)
        await add(api.service, "t", "s")
        await api.service.db_manager.async_pool.execute("DELETE FROM projects")
        _copy(api, before)
        await prune(api.service)
        _copy(api, after)
        assert ids(api.service.db_manager) == [FIRST, SECOND, 7, END]
    return before, after


@pytest.fixture
def anchored(anchored_template: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """The test's own copies."""
    before, after = (Path(shutil.copy(path, tmp_path)) for path in anchored_template)
    return before, after


def _copy(api: Api, path: Path) -> None:
    api.service.db_manager.execute_query("SELECT 1")
    with closing(sqlite3.connect(api.service.db_manager.config.path)) as connection:
        connection.execute("VACUUM INTO ?", (str(path),))


@pytest.fixture
def damage(anchored: tuple[Path, Path]) -> Damage:
    """Runs statements after the removal, with the database of before it attached, and returns what
    verification finds."""
    before, after = anchored

    def run(*statements: str) -> str | None:
        with closing(sqlite3.connect(after, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("ATTACH ? AS before", (str(before),))
            for statement in statements:
                connection.execute(statement)
        manager = DatabaseManager(after)
        try:
            found = verify_audit(manager, AuditChain(KEYS.audit_chain))
        finally:
            manager.sync_pool.close()
        return None if found is None else str(found)

    return run


def test_what_is_left_is_whole(damage: Damage) -> None:
    assert damage() is None


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("last_id = last_id - 1", "the audit's anchor at entry 5 is not as"),
        ("last_id = last_id + 1", "the audit has 3 entries up to entry 7, but its anchor says 2"),
        ("last_id = 99", "the audit has 4 entries up to entry 99, but its anchor says 2"),
        ("last_mac = substr(last_mac, 2) || 'f'", "the audit's anchor at entry 6 is not as"),
        ("kept = 1", "the audit has 2 entries up to entry 6, but its anchor says 1"),
        ("kept = 3", "the audit has 2 entries up to entry 6, but its anchor says 3"),
        ("mac = substr(mac, 2) || '0'", "the audit's anchor at entry 6 is not as"),
        ("mac = substr(mac, 1, 63) || 'x'", "the audit's anchor at entry 6 is not as"),
        ("mac = ''", "the audit's anchor at entry 6 is not as"),
    ],
)
def test_no_column_of_the_anchor_can_be_changed(damage: Damage, change: str, found: str) -> None:
    said = damage(f"UPDATE audit_anchor SET {change}")
    assert said is not None
    assert found in said


def test_every_column_of_the_anchor_was_tried() -> None:
    assert AuditAnchor._fields == ("last_id", "last_mac", "kept", "mac")


def test_an_anchor_that_was_removed_is_missed(damage: Damage) -> None:
    assert damage("DELETE FROM audit_anchor") == (
        "the anchor of the audit is missing, although entries were removed for their age: it was "
        "removed"
    )
    assert damage(f"DELETE FROM audit_entries WHERE id <= {LAST_PASSED}") == (
        "audit entry 1 is missing: it was removed or renumbered"
    )


def test_an_anchor_can_not_be_made_up(anchored: tuple[Path, Path], damage: Damage) -> None:
    # As if entries had been removed for their age.
    before, _ = anchored
    shutil.copy(before, anchored[1])
    assert damage() is None
    said = damage(
        "INSERT INTO audit_anchor SELECT 1, id, mac, 0, mac FROM audit_entries WHERE id = 6",
        "DELETE FROM audit_entries WHERE id <= 6",
    )
    assert said is not None
    assert "the audit's anchor at entry 6 is not as it was written" in said


@pytest.mark.parametrize("gone", [FIRST, SECOND])
def test_an_entry_that_stayed_can_not_be_removed(damage: Damage, gone: int) -> None:
    said = damage(f"DELETE FROM audit_entries WHERE id = {gone}")
    assert said is not None
    assert "the audit has 1 entries up to entry 6, but its anchor says 2" in said
    said = damage("UPDATE audit_anchor SET kept = 1")
    assert said is not None
    assert "the audit's anchor at entry 6 is not as it was written" in said


@pytest.mark.parametrize("column", [*AuditRow._fields[1:], "mac", "previous_mac"])
def test_an_entry_that_stayed_can_not_be_changed(damage: Damage, column: str) -> None:
    values = {"actor_token_id": "99", "project_id": "99", "version": "99", "previous_mac": "NULL"}
    value = values.get(column, f"substr({column}, 2) || 'f'")
    said = damage(f"UPDATE audit_entries SET {column} = {value} WHERE id = {SECOND}")
    assert said is not None
    assert f"audit entry {SECOND} is not as it was written" in said


def test_an_entry_that_stayed_can_not_be_replaced_by_an_older_one(damage: Damage) -> None:
    # It is about the same target, was genuine once, and has the MAC that was before it.
    said = damage(
        f"DELETE FROM audit_entries WHERE id = {FIRST}",
        f"INSERT INTO audit_entries ({COLUMNS}, previous_mac) SELECT {COLUMNS}, (SELECT mac FROM"
        f" before.audit_entries WHERE id = {FIRST - 2}) FROM before.audit_entries"
        f" WHERE id = {FIRST - 1}",
    )
    assert said is not None
    assert "the audit's anchor at entry 6 is not as it was written" in said
    assert "an entry up to it was replaced" in said


def test_an_entry_that_went_can_not_be_put_back(damage: Damage) -> None:
    said = damage(
        f"INSERT INTO audit_entries ({COLUMNS}, previous_mac) SELECT {COLUMNS}, (SELECT mac FROM"
        " before.audit_entries WHERE id = 3) FROM before.audit_entries WHERE id = 4"
    )
    assert said is not None
    assert "the audit has 3 entries up to entry 6, but its anchor says 2" in said


@pytest.mark.parametrize("id", [0, -5])
def test_nothing_is_hidden_below_the_first_id(damage: Damage, id: int) -> None:
    said = damage(f"UPDATE audit_entries SET id = {id} WHERE id = {FIRST}")
    assert said is not None


def test_the_chain_goes_on_right_after_the_anchor(damage: Damage) -> None:
    assert damage("DELETE FROM audit_entries WHERE id = 7") == (
        "audit entry 7 is missing: it was removed or renumbered"
    )


def test_the_newest_entry_can_not_have_gone_by_age(damage: Damage) -> None:
    assert damage(f"DELETE FROM audit_entries WHERE id > {LAST_PASSED}") == (
        "audit entry 7 is missing at the end: the newest entry is never removed for its age"
    )


def test_an_entry_after_the_anchor_is_linked_to_its_predecessor_alone(damage: Damage) -> None:
    said = damage(f"UPDATE audit_entries SET previous_mac = mac WHERE id = {END}")
    assert said is not None
    assert f"audit entry {END} is not as it was written" in said


def test_text_that_is_no_text_is_named(damage: Damage) -> None:
    said = damage(f"UPDATE audit_entries SET actor = CAST(x'ff' AS TEXT) WHERE id = {SECOND}")
    assert said == f"audit entry {SECOND} can't be read"


def test_an_older_anchor_does_not_fit_later_entries(anchored: tuple[Path, Path]) -> None:
    chain = AuditChain(KEYS.audit_chain)
    one = chain.anchor(5, "0" * 64, 1, 7)
    assert chain.covers(one, 7)
    assert not chain.covers(one, 8)
    assert not chain.covers(one._replace(kept=2), 7)
    assert not AuditChain(bytes(32)).covers(one, 7)
    # The same anchor looks different each time, so that no sum of shares can be told from another.
    assert chain.anchor(5, "0" * 64, 1, 7).mac[:32] != one.mac[:32]
    assert anchored


class TestRemoval:
    """Nothing is removed once the next old entry is not as it was written: its traces would go."""

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ("UPDATE audit_entries SET actor = 'x' WHERE id = 4", 4),
            ("DELETE FROM audit_entries WHERE id = 4", 4),
            ("UPDATE audit_entries SET previous_mac = mac WHERE id = 4", 4),
            ("UPDATE audit_entries SET at = '2020-01-01T00:00:00.000000Z' WHERE id = 7", 7),
        ],
    )
    async def test_damage_among_the_old_entries_stays_visible(
        self, api: Api, clock: SetClock, change: str, named: int
    ) -> None:
        await add(api.service, "x!", "x!", "w", "x!", "v")
        clock.advance(50 * DAY)
        await add(api.service, "young", "end")
        manager = api.service.db_manager
        await manager.async_pool.execute(change)
        before = ids(manager)
        found = problem(api.service)
        with pytest.raises(AuditDamaged, match=f"audit entry {named} is"):
            await prune(api.service)
        assert ids(manager) == before
        assert problem(api.service) == found

    async def test_a_forged_entry_supersedes_nothing(self, api: Api, clock: SetClock) -> None:
        await add(api.service, "x!", "w")
        clock.advance(50 * DAY)
        await add(api.service, "young", "end")
        await prune(api.service)
        await add(api.service, "end")
        manager = api.service.db_manager
        forged = "UPDATE audit_entries SET target = 'x', digest = 'sd1:0' WHERE id = 5"
        await manager.async_pool.execute(forged)
        before = ids(manager)
        assert {1, 2, 3} < set(before)
        with pytest.raises(AuditDamaged, match="audit entry 5 is not as it was written"):
            await prune(api.service)
        assert ids(manager) == before

    async def test_an_entry_that_stayed_and_was_changed_does_not_go(
        self, api: Api, clock: SetClock
    ) -> None:
        await add(api.service, "x!", "y!", "w")
        clock.advance(50 * DAY)
        await add(api.service, "y!", "end")
        manager = api.service.db_manager
        await prune(api.service)
        assert ids(manager) == [1, 2, 3, 6, 7]
        # As if it were about the target that has a newer entry.
        await manager.async_pool.execute("UPDATE audit_entries SET target = 'y' WHERE id = 3")
        with pytest.raises(AuditDamaged, match="audit entry 3 is not as it was written"):
            await prune(api.service)
        assert ids(manager) == [1, 2, 3, 6, 7]

    async def test_other_old_data_goes_nevertheless(self, api: Api, clock: SetClock) -> None:
        await logs_of_days(api, clock, 3)
        await add(api.service, "x!", "w", "v")
        clock.advance(50 * DAY)
        await add(api.service, "end")
        await api.service.db_manager.async_pool.execute("DELETE FROM audit_entries WHERE id = 2")
        both = limits(audit=(30, None), logs=(30, None))
        pruner = Pruner(api.service.retention, both, considerate=False)
        with pytest.raises(AuditDamaged):
            await pruner.start()
        assert pruner.progress is not None
        assert (pruner.progress.status, pruner.progress.removed.logs) == ("interrupted", 9)
