"""Texts in the file that are not UTF-8, which only another program can have written."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from database.connection_manager import ConnectionConfig, DatabaseManager
from database.engine import Executor, MalformedText, Row
from database.errors import MalformedTextFound

BAD = "CAST(x'61ff62' AS TEXT)"
SHOWN = "a\ufffdb"
NAMES = ["é", SHOWN, "c", SHOWN, "\ufffd"]


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[DatabaseManager]:
    """A database with five names, two of which are malformed."""
    async with DatabaseManager(ConnectionConfig(tmp_path / "names.db")) as manager:
        manager.execute_command("CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)")
        values = f"('é', 0), ({BAD}, 0), ('c', 0), ({BAD}, 0), ('\ufffd', 0)"
        manager.execute_command(f"INSERT INTO names (name, n) VALUES {values}")  # noqa: S608
        yield manager


async def _check(db: Executor) -> None:
    found = [row[0] for row in await db.fetch_all("SELECT name FROM names ORDER BY id")]
    assert found == NAMES
    stored = [name.stored for name in found if isinstance(name, MalformedText)]
    assert stored == [b"a\xffb"] * 2

    one = await db.fetch_one("SELECT name FROM names WHERE id = 2")
    assert one is not None
    assert one["name"] == SHOWN
    within = await db.fetch_within("SELECT name FROM names WHERE id = 4", (), 1000)
    assert within is not None
    assert within["name"] == SHOWN

    taken: list[str] = []

    def takes(row: Row) -> bool:
        taken.append(row["name"])
        return len(taken) < 3

    await db.fetch_while("SELECT name FROM names ORDER BY id", (), takes)
    assert taken == NAMES[:3]


async def test_every_read_returns_all_rows_once(manager: DatabaseManager) -> None:
    await _check(manager.async_pool)
    async with manager.async_pool.transaction() as transaction:
        await _check(transaction)
    assert [row["name"] for row in manager.execute_query("SELECT name FROM names")] == NAMES


async def test_a_statement_that_writes_runs_once(manager: DatabaseManager) -> None:
    pool = manager.async_pool
    rows = await pool.execute_returning("UPDATE names SET n = n + 1 RETURNING name, n")
    assert [tuple(row) for row in rows] == [(name, 1) for name in NAMES]
    copied = "INSERT INTO names (name, n) SELECT name, 7 FROM names WHERE id = 2 RETURNING name"
    assert [row[0] for row in await pool.execute_returning(copied)] == [SHOWN]
    copies = await pool.fetch_all("SELECT hex(name) FROM names WHERE n = 7")
    assert [row[0] for row in copies] == ["61FF62"]


async def test_later_reads_of_the_connection_are_not_slowed_down(manager: DatabaseManager) -> None:
    with manager.sync_pool.connection(read_only=True) as connection:
        before = connection.text_factory
    manager.execute_query("SELECT name FROM names")
    with manager.sync_pool.connection(read_only=True) as connection:
        assert connection.text_factory is before is str


async def test_what_checks_stored_texts_is_told(manager: DatabaseManager) -> None:
    with pytest.raises(MalformedTextFound, match=r"^a text in the file is not UTF-8$"):
        manager.fetch_tuples("SELECT name FROM names")
    taken: list[str] = []

    def takes(row: Row) -> bool:
        taken.append(row["name"])
        return True

    with pytest.raises(MalformedTextFound):
        manager.fetch_while("SELECT name FROM names ORDER BY id", (), takes)
    assert taken == NAMES[:1]


async def test_an_error_that_a_callback_raises_is_its_own(manager: DatabaseManager) -> None:
    def takes(row: Row) -> bool:
        raise KeyError(row["name"])

    with pytest.raises(KeyError, match=SHOWN):
        await manager.async_pool.fetch_while("SELECT name FROM names WHERE id = 2", (), takes)


@pytest.mark.parametrize(
    "stored",
    [b"\xff", b"\xed\xa0\x80", b"\xc3\xa9\xf0\x9f", b"\0\xff", b'"\xc3"', b"\xff" * 100_000],
)
def test_a_malformed_text_is_a_string_that_can_be_encoded(stored: bytes) -> None:
    text = MalformedText(stored)
    assert text.encode().decode() == text
    assert "\ufffd" in text
    assert text.stored == stored
