"""What stands for the newest entry of a target, in the table `guarded_targets`."""

import sqlite3
from pathlib import Path

import pytest

from backend.repositories.guarded_kinds import GUARDED_KINDS
from database.migrator import load_migrations, migrate
from database.sqlite.connection import ConnectionConfig, open_connection
from tests.guard.world import World, outside, put, running
from tests.support.earlier import make_unindexed
from tests.support.http import problem

TARGET = "projects/1/secrets/KEY"
VALUE = f"/api/{TARGET}/value"
NEWEST = (
    "SELECT target, max(id) FROM audit_entries WHERE digest IS NOT NULL GROUP BY target ORDER BY 1"
)


def _stored(db: sqlite3.Connection) -> list[tuple[str, int]]:
    rows = db.execute("SELECT target, entry_id FROM guarded_targets ORDER BY 1").fetchall()
    return [tuple(row) for row in rows]


def _newest(db: sqlite3.Connection) -> list[tuple[str, int]]:
    return [tuple(row) for row in db.execute(NEWEST).fetchall()]


def test_each_target_has_its_newest_entry(world: World) -> None:
    with outside(world.database) as db:
        stored = _stored(db)
        assert stored == _newest(db)
    of_kinds = [[t for t, _ in stored if kind.targets.fullmatch(t)] for kind in GUARDED_KINDS]
    assert all(of_kinds)


def test_an_upgrade_finds_the_newest_entries(world: World) -> None:
    make_unindexed(world.database)
    upgraded = open_connection(ConnectionConfig(Path(world.database)))
    assert migrate(upgraded) == [migration.name for migration in load_migrations()[13:]]
    stored = _stored(upgraded)
    upgraded.close()
    with outside(world.database) as db:
        assert stored == _newest(db) != []


async def test_an_earlier_row_with_its_entry_as_the_newest_one_is_found_by_verify(
    world: World,
) -> None:
    with outside(world.database) as db:
        put(db, "project_secrets", world.rows["secret at version 1"])
        _point_at(db, "(SELECT min(id) FROM audit_entries WHERE target = ?1)")
    async with running(world) as service:
        # It is used until then, as docs/security.md says.
        assert (await service.client.get(VALUE)).json()["version"] == 1
        assert await service.named_by_verify() == {TARGET}


@pytest.mark.parametrize(
    "entry", ["(SELECT max(id) + 1000 FROM audit_entries)", "1"], ids=["none", "another target's"]
)
async def test_a_row_whose_newest_entry_is_not_its_own_is_refused(world: World, entry: str) -> None:
    with outside(world.database) as db:
        _point_at(db, entry)
    async with running(world) as service:
        problem(await service.client.get(VALUE), "secret_unreadable")
        assert TARGET in await service.named_by_verify()


async def test_a_row_without_a_newest_entry_is_refused(world: World) -> None:
    with outside(world.database) as db:
        db.execute("DELETE FROM guarded_targets WHERE target = ?", (TARGET,))
    async with running(world) as service:
        problem(await service.client.get(VALUE), "secret_unreadable")
        assert TARGET in await service.named_by_verify()


@pytest.mark.parametrize(
    "write",
    [
        "DELETE FROM guarded_targets WHERE target = ?1",
        "UPDATE guarded_targets SET entry_id = 1000000 WHERE target = ?1",
    ],
    ids=["removed", "no entry"],
)
async def test_a_deleted_row_without_its_newest_entry_is_missed(world: World, write: str) -> None:
    with outside(world.database) as db:
        db.execute("DELETE FROM project_secrets WHERE project_id = 1 AND key_name = 'KEY'")
        db.execute(write, (TARGET,))
    async with running(world) as service:
        assert await service.named_by_verify() == {TARGET}


def _point_at(db: sqlite3.Connection, entry: str) -> None:
    written = db.execute(
        f"UPDATE guarded_targets SET entry_id = {entry} WHERE target = ?1",  # noqa: S608
        (TARGET,),
    )
    assert written.rowcount == 1
