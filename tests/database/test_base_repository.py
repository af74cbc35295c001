"""The base class of all repositories, on its own table."""

from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from database.base import BaseRepository, Sql, encode, json_text, time_text
from database.connection_manager import DatabaseManager
from database.engine import Value
from database.errors import CheckViolation, DatabaseError, InvalidValue, UniqueViolation
from database.sqlite.connection import ConnectionConfig, open_connection

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BOXES = """CREATE TABLE boxes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size INTEGER CHECK (size > 0),
    sealed INTEGER NOT NULL DEFAULT 0 CHECK (sealed IN (0, 1)),
    tags TEXT NOT NULL DEFAULT '[]',
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
) STRICT"""
NOTES = "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, created_at TEXT NOT NULL) STRICT"


class Box(BaseModel):
    """A row of `boxes`."""

    id: int
    name: str
    size: int | None
    sealed: bool
    tags: str
    created_at: datetime
    updated_at: datetime
    version: int


class Note(BaseModel):
    """A row of `notes`."""

    id: int
    body: str | None
    created_at: datetime


class BoxRepository(BaseRepository[Box]):
    """The table `boxes`, with a clock that advances by a second each time it is read."""

    writable = frozenset({"name", "size", "sealed", "tags"})
    defaults: ClassVar[Mapping[str, Value]] = {
        "size": None,
        "sealed": 0,
        "tags": "[]",
        "version": 1,
    }

    def __init__(self, db_manager: DatabaseManager | None = None) -> None:
        self._seconds = 0
        super().__init__(Box, "boxes", db_manager, clock=self._tick)

    def _tick(self) -> datetime:
        self._seconds += 1
        return NOON + timedelta(seconds=self._seconds)


class NoteRepository(BaseRepository[Note]):
    """The table `notes`, whose rows have no version."""

    writable = frozenset({"body"})
    defaults: ClassVar[Mapping[str, Value]] = {"body": None}
    versioned = False


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[DatabaseManager]:
    """A database with `boxes` and `notes`."""
    config = ConnectionConfig(tmp_path / "boxes.db")
    with closing(open_connection(config)) as connection:
        connection.execute(BOXES)
        connection.execute(NOTES)
    async with DatabaseManager(config) as manager:
        yield manager


@pytest.fixture
def boxes(manager: DatabaseManager) -> BoxRepository:
    """The repository under test."""
    return BoxRepository(manager)


async def test_what_is_created_can_be_read_back(boxes: BoxRepository) -> None:
    box = await boxes.create({"name": "a", "size": 3, "sealed": True, "tags": ["x", "é"]})
    assert box.id == 1
    assert (box.name, box.size, box.sealed, box.tags) == ("a", 3, True, '["x","é"]')
    assert box.created_at == box.updated_at == NOON + timedelta(seconds=1)
    assert box.version == 1
    assert await boxes.get_by_id(1) == box
    assert await boxes.get_by_id(2) is None


async def test_an_update_changes_the_given_columns_and_leaves_the_others(
    boxes: BoxRepository,
) -> None:
    before = await boxes.create({"name": "a", "size": 3})
    after = await boxes.update(before.id, {"size": None, "sealed": True})
    assert after is not None
    assert (after.name, after.size, after.sealed, after.version) == ("a", None, True, 2)
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at
    assert await boxes.get_by_id(before.id) == after
    assert await boxes.update(4711, {"size": 1}) is None


async def test_an_update_of_nothing_changes_nothing(boxes: BoxRepository) -> None:
    box = await boxes.create({"name": "a"})
    assert await boxes.update(box.id, {}) == box
    assert await boxes.update(4711, {}) is None


async def test_a_change_expects_a_version(boxes: BoxRepository) -> None:
    box = await boxes.create({"name": "a"})
    assert await boxes.change(box.id, {"size": 1}, expected=2) is None
    assert await boxes.get_by_id(box.id) == box
    changed = await boxes.change(box.id, {"size": 1}, expected=1)
    assert changed is not None
    assert (changed.size, changed.version) == (1, 2)
    # Of two changes that expect the same version, the second is too late.
    assert await boxes.change(box.id, {"size": 2}, expected=1) is None
    assert await boxes.get_by_id(box.id) == changed


async def test_a_change_has_a_condition_and_computed_columns(boxes: BoxRepository) -> None:
    box = await boxes.create({"name": "a", "size": 3})
    where = Sql("size > ?", (5,))
    computed: dict[str, Sql | Value] = {"size": Sql("size + ?", (3,)), "tags": "[1]"}
    assert await boxes.change(box.id, {}, where=where, computed=computed) is None
    grown = await boxes.change(box.id, {"name": "b"}, computed=computed)
    assert grown is not None
    assert (grown.name, grown.size, grown.tags, grown.version) == ("b", 6, "[1]", 2)
    again = await boxes.change(box.id, {}, expected=2, where=where, computed=computed)
    assert again is not None
    assert (again.size, again.version) == (9, 3)
    assert again.updated_at > grown.updated_at


async def test_a_computed_time_of_a_change_is_kept(boxes: BoxRepository) -> None:
    box = await boxes.create({"name": "a"})
    noon = time_text(NOON)
    changed = await boxes.change(box.id, {"size": 1}, computed={"updated_at": noon})
    assert changed is not None
    assert changed.updated_at == NOON


async def test_several_rows_are_changed_at_once(boxes: BoxRepository) -> None:
    for name, size in (("a", 1), ("b", 2), ("c", 3)):
        await boxes.create({"name": name, "size": size})
    changed = await boxes.change_where(Sql("size >= ?", (2,)), {"sealed": True})
    assert [(box.name, box.sealed, box.version) for box in changed] == [
        ("b", True, 2),
        ("c", True, 2),
    ]
    assert await boxes.change_where(Sql("size > 3"), {"sealed": True}) == []
    first = await boxes.get_by_id(1)
    assert first is not None
    assert (first.sealed, first.version) == (False, 1)


async def test_a_change_can_set_only_columns_that_callers_may_set(boxes: BoxRepository) -> None:
    box = await boxes.create({"name": "a"})
    with pytest.raises(InvalidValue):
        await boxes.change(box.id, {"version": 7})
    assert await boxes.get_by_id(box.id) == box


async def test_a_table_without_versions_counts_no_changes(manager: DatabaseManager) -> None:
    notes = NoteRepository(Note, "notes", manager)
    note = await notes.create({"body": "a"})
    changed = await notes.change(note.id, {"body": "b"}, where=Sql("body = 'a'"))
    assert changed == note.model_copy(update={"body": "b"})


async def test_what_is_deleted_is_gone(boxes: BoxRepository) -> None:
    box = await boxes.create({"name": "a"})
    assert await boxes.delete(box.id) is True
    assert await boxes.delete(box.id) is False
    assert await boxes.get_by_id(box.id) is None


async def test_counting_and_existence(boxes: BoxRepository) -> None:
    assert await boxes.count() == 0
    box = await boxes.create({"name": "a"})
    await boxes.create({"name": "b"})
    assert await boxes.count() == 2
    assert await boxes.exists(box.id) is True
    assert await boxes.exists(4711) is False


async def test_lists_are_newest_first_and_go_on_where_they_ended(boxes: BoxRepository) -> None:
    for n in range(5):
        await boxes.create({"name": f"n{n}"})
    assert [box.id for box in await boxes.list()] == [5, 4, 3, 2, 1]
    assert [box.id for box in await boxes.list(2)] == [5, 4]
    assert [box.id for box in await boxes.list(2, before_id=4)] == [3, 2]
    assert list(await boxes.list(2, before_id=1)) == []


async def test_a_column_that_can_not_be_set_is_refused_and_nothing_is_stored(
    boxes: BoxRepository,
) -> None:
    box = await boxes.create({"name": "a"})
    for column in ("id", "version", "created_at", "name) VALUES ('x') --"):
        with pytest.raises(InvalidValue, match="no settable column"):
            await boxes.create({"name": "b", column: 1})
        with pytest.raises(InvalidValue, match="no settable column"):
            await boxes.update(box.id, {column: 1})
    assert await boxes.list() == [box]


async def test_what_a_constraint_refuses_is_told_as_such(boxes: BoxRepository) -> None:
    box = await boxes.create({"name": "a"})
    with pytest.raises(UniqueViolation):
        await boxes.create({"name": "a"})
    with pytest.raises(CheckViolation):
        await boxes.update(box.id, {"size": 0})
    with pytest.raises(CheckViolation):
        await boxes.create({})
    assert await boxes.list() == [box]


async def test_rows_without_a_version_are_changed_in_place(manager: DatabaseManager) -> None:
    notes = NoteRepository(Note, "notes", manager)
    note = await notes.create({"body": "first"})
    changed = await notes.update(note.id, {"body": "corrected"})
    assert changed is not None
    assert (changed.body, changed.created_at) == ("corrected", note.created_at)


async def test_inside_a_transaction_it_shares_its_fate(
    manager: DatabaseManager, boxes: BoxRepository
) -> None:
    async def work() -> Box | None:
        async with manager.async_transaction() as tx:
            bound = boxes.using(tx)
            assert type(bound) is BoxRepository
            box = await bound.create({"name": "a"})
            await bound.update(box.id, {"size": 1})
            return await bound.get_by_id(box.id)

    box = await manager.async_pool.run_unit(work)
    assert box == await boxes.get_by_id(1)
    assert manager.async_pool.writer.stats.commits == 1

    async def failing() -> None:
        async with manager.async_transaction() as tx:
            await boxes.using(tx).delete(1)
            raise KeyError

    with pytest.raises(KeyError):
        await manager.async_pool.run_unit(failing)
    assert await boxes.exists(1)


async def test_without_a_manager_it_takes_the_one_that_is_open(manager: DatabaseManager) -> None:
    assert BoxRepository().db is manager.async_pool
    await manager.close()
    with pytest.raises(LookupError):
        BoxRepository()


class Colour(StrEnum):
    """Text as its value."""

    RED = "red"


class Mixed(str, Enum):  # noqa: UP042 - its `str()` is its name, which must not be stored
    """Text as its value, too."""

    RED = "red"


class Level(IntEnum):
    """A number as its value."""

    HIGH = 3


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        ("text", "text"),
        (b"bytes", b"bytes"),
        (7, 7),
        (2.5, 2.5),
        (True, 1),
        (False, 0),
        (Colour.RED, "red"),
        (Mixed.RED, "red"),
        (Level.HIGH, 3),
        (NOON, "2026-01-31T12:00:00.000000Z"),
        ({"b": 1, "a": [None, True]}, '{"b":1,"a":[null,true]}'),
        ([], "[]"),
    ],
)
def test_values_are_stored_as(value: Any, stored: Any) -> None:
    encoded = encode(value)
    assert encoded == stored
    assert type(encoded) is type(stored)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        object(),
        {1, 2},
        datetime(2026, 1, 31),  # noqa: DTZ001 - that is what is refused
        [float("nan")],
        {"key": object()},
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    ],
)
def test_values_that_can_not_be_stored_are_refused(value: Any) -> None:
    with pytest.raises(InvalidValue) as refused:
        encode(value)
    assert refused.value.code == "validation_failed"
    assert isinstance(refused.value, DatabaseError)


def test_json_that_never_ends_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidValue):
        json_text(endless)


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (NOON, "2026-01-31T12:00:00.000000Z"),
        (datetime(999, 1, 1, tzinfo=UTC), "0999-01-01T00:00:00.000000Z"),
        (
            datetime(2026, 1, 31, 1, 2, 3, 4, timezone(timedelta(hours=2))),
            "2026-01-30T23:02:03.000004Z",
        ),
    ],
)
def test_times_have_one_width_and_one_zone(time: datetime, text: str) -> None:
    assert time_text(time) == text
    assert len(text) == 27
