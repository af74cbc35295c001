"""The driver's errors become the package's own, by SQLite's name of the error."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from database.errors import (
    CheckViolation,
    DatabaseBusy,
    DatabaseClosed,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
    ForeignKeyViolation,
    IntegrityError,
    InvalidValue,
    StatementError,
    TooLong,
    UniqueViolation,
    concerns_connection,
    translate,
)
from database.sqlite.async_pool import AsyncConnectionPool
from tests.database.engine import assert_at_rest, names, open_pool, outcomes

BY_NAME = {
    "SQLITE_CONSTRAINT_UNIQUE": UniqueViolation,
    "SQLITE_CONSTRAINT_PRIMARYKEY": UniqueViolation,
    "SQLITE_CONSTRAINT_ROWID": UniqueViolation,
    "SQLITE_CONSTRAINT_FOREIGNKEY": ForeignKeyViolation,
    "SQLITE_CONSTRAINT_CHECK": CheckViolation,
    "SQLITE_CONSTRAINT_NOTNULL": CheckViolation,
    "SQLITE_CONSTRAINT_DATATYPE": CheckViolation,
    "SQLITE_CONSTRAINT_TRIGGER": IntegrityError,
    "SQLITE_CONSTRAINT": IntegrityError,
    "SQLITE_BUSY": DatabaseBusy,
    "SQLITE_BUSY_SNAPSHOT": DatabaseBusy,
    "SQLITE_BUSY_RECOVERY": DatabaseBusy,
    "SQLITE_LOCKED": DatabaseBusy,
    "SQLITE_INTERRUPT": DatabaseBusy,
    "SQLITE_FULL": DatabaseFull,
    "SQLITE_READONLY": DatabaseReadOnly,
    "SQLITE_READONLY_DBMOVED": DatabaseReadOnly,
    "SQLITE_CORRUPT": DatabaseCorrupt,
    "SQLITE_CORRUPT_INDEX": DatabaseCorrupt,
    "SQLITE_NOTADB": DatabaseCorrupt,
    "SQLITE_IOERR": DatabaseUnavailable,
    "SQLITE_IOERR_FSYNC": DatabaseUnavailable,
    "SQLITE_CANTOPEN": DatabaseUnavailable,
    "SQLITE_NOMEM": DatabaseUnavailable,
    "SQLITE_TOOBIG": TooLong,
    "SQLITE_ERROR": StatementError,
    "SQLITE_RANGE": StatementError,
    "SQLITE_MISUSE": DatabaseError,
    "SQLITE_SCHEMA": DatabaseError,
}


@pytest.mark.parametrize("name", BY_NAME)
def test_each_name_has_its_error(name: str) -> None:
    error = sqlite3.OperationalError("the driver's text")
    error.sqlite_errorname = name
    assert type(translate(error)) is BY_NAME[name]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (19 | 12 << 8, CheckViolation),
        (19 | 99 << 8, IntegrityError),
        (10 | 99 << 8, DatabaseUnavailable),
        (13, DatabaseFull),
        (99, DatabaseError),
    ],
)
def test_a_name_that_the_driver_does_not_know_is_found_by_its_number(
    code: int, kind: type[DatabaseError]
) -> None:
    error = sqlite3.OperationalError("the driver's text")
    error.sqlite_errorname = "unknown"
    error.sqlite_errorcode = code
    assert type(translate(error)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OverflowError("Python int too large"), InvalidValue),
        (UnicodeEncodeError("utf-8", "secret", 0, 1, "surrogates"), InvalidValue),
        (MemoryError(), DatabaseUnavailable),
        (sqlite3.ProgrammingError("wrong number of bindings"), StatementError),
        (sqlite3.Warning("one statement at a time"), StatementError),
        (DatabaseFull("already ours"), DatabaseFull),
    ],
)
def test_errors_without_a_name_have_theirs(error: Exception, kind: type[DatabaseError]) -> None:
    translated = translate(error)
    assert type(translated) is kind
    assert "secret" not in str(translated)


def test_an_error_that_is_not_the_databases_stays_what_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        translate(KeyError("mine"))


def test_only_some_errors_cost_the_connection() -> None:
    lost = [DatabaseUnavailable("x"), DatabaseCorrupt("x"), MemoryError()]
    kept = [None, KeyError(), DatabaseReadOnly("x"), DatabaseFull("x"), StatementError("x")]
    assert all(concerns_connection(error) for error in lost)
    assert not any(concerns_connection(error) for error in kept)


def test_each_error_has_a_public_code() -> None:
    assert DatabaseBusy("x").code == DatabaseClosed("x").code == "database_busy"
    assert DatabaseFull("x").code == "database_full"
    assert InvalidValue("x").code == "validation_failed"
    assert {DatabaseError("x").code, StatementError("x").code} == {"internal"}
    assert DatabaseBusy().retry_after >= 1


Attempt = Callable[[AsyncConnectionPool, str, Any], Any]


async def _in_a_block(pool: AsyncConnectionPool, sql: str, params: Any) -> None:
    async with pool.transaction() as tx:
        await tx.execute(sql, params)


WAYS: dict[str, Attempt] = {
    "execute": lambda pool, sql, params: pool.execute(sql, params),
    "execute_many": lambda pool, sql, params: pool.execute_many(sql, [params]),
    "execute_returning": lambda pool, sql, params: pool.execute_returning(sql, params),
    "fetch_all": lambda pool, sql, params: pool.fetch_all(sql, params),
    "fetch_one": lambda pool, sql, params: pool.fetch_one(sql, params),
    "unit": lambda pool, sql, params: pool.run_unit(lambda: _in_a_block(pool, sql, params)),
    "reading unit": lambda pool, sql, params: pool.run_unit(
        lambda: _in_a_block(pool, sql, params), read_only=True
    ),
    "interactive": _in_a_block,
    "run_alone": lambda pool, sql, params: pool.run_alone(lambda raw: raw.execute(sql, params)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("sql", "params", "kinds"),
    [
        pytest.param("SELECT ?", ("\ud800secret",), {InvalidValue}, id="lone surrogate"),
        pytest.param("SELECT ?", (2**63,), {InvalidValue, OverflowError}, id="2**63"),
        pytest.param("SELECT ?", (-(2**63) - 1,), {InvalidValue, OverflowError}, id="-2**63-1"),
        pytest.param("SELECT ?", (1, 2), {StatementError}, id="too many"),
        pytest.param("SELECT ?, ?", (1,), {StatementError}, id="too few"),
        pytest.param("SELECT ?", (object(),), {StatementError}, id="no value"),
        pytest.param("SELECT ?", (["secret"],), {StatementError}, id="a list"),
        pytest.param("SELECT nothing", (), {StatementError}, id="unknown column"),
        pytest.param("SELEC 1", (), {StatementError}, id="syntax"),
        pytest.param("SELECT 1; SELECT 2", (), {StatementError}, id="two statements"),
        pytest.param("SELECT 1 \x00", (), {StatementError}, id="NUL in the statement"),
        pytest.param("SELECT '\ud800'", (), {InvalidValue}, id="surrogate in the statement"),
        pytest.param("SELECT zeroblob(2000000000)", (), {TooLong}, id="too long"),
    ],
)
async def test_bad_statements_and_values_raise_our_own_and_have_no_effect(
    shared_pool: AsyncConnectionPool, way: str, sql: str, params: Any, kinds: set[type[Exception]]
) -> None:
    pool = shared_pool
    (error,) = await outcomes([WAYS[way](pool, sql, params)])
    if way == "run_alone" and not isinstance(error, DatabaseError):
        # The function's own errors are passed on, unless they come from the driver.
        assert isinstance(error, (OverflowError, UnicodeEncodeError))
        return
    if way == "execute_many" and isinstance(error, StatementError):
        # A statement that reads can't be run many times: this is reported first.
        return
    assert type(error) in kinds
    assert "secret" not in str(error)
    assert pool.readers.stats.reopened == 0
    assert pool.writer.poisoned is None


@pytest.mark.parametrize("text", ["", "\x00", "a\x00b", "\uffff", "\U0010ffff", "é", "e\u0301"])
async def test_any_text_that_is_unicode_comes_back_as_it_was(
    pool: AsyncConnectionPool, text: str
) -> None:
    await pool.execute("INSERT INTO parts (body) VALUES (?)", (text,))
    rows = await pool.fetch_all("SELECT body FROM parts WHERE body = ?", (text,))
    assert [row["body"] for row in rows] == [text]


async def test_the_largest_and_smallest_integer_come_back(pool: AsyncConnectionPool) -> None:
    row = await pool.fetch_one("SELECT ?, ?", (2**63 - 1, -(2**63)))
    assert row is not None
    assert tuple(row) == (2**63 - 1, -(2**63))


async def test_an_error_of_a_constraint_names_the_constraint_and_no_value(
    pool: AsyncConnectionPool,
) -> None:
    insert = "INSERT INTO items (name, amount) VALUES (?, ?)"
    await pool.execute(insert, ("secret", 1))
    cases: list[tuple[type[DatabaseError], tuple[Any, ...], str]] = [
        (UniqueViolation, ("secret", 1), "items.name"),
        (CheckViolation, ("secret 2", -17), "amount"),
        (CheckViolation, (None, 1), "items.name"),
        (CheckViolation, ("secret 3", "secret"), "items.amount"),
    ]
    for kind, params, told in cases:
        with pytest.raises(kind, match=told) as caught:
            await pool.execute(insert, params)
        assert "secret" not in str(caught.value)
        assert "17" not in str(caught.value)
    with pytest.raises(ForeignKeyViolation):
        await pool.execute("INSERT INTO bound_parts (item_id) VALUES (4711)")
    assert await names(pool) == ["secret"]
    await assert_at_rest(pool)


@pytest.fixture(scope="module")
def shared_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the pools in this module that change nothing."""
    return tmp_path_factory.mktemp("errors") / "engine.db"


@pytest.fixture
async def shared_pool(shared_path: Path) -> Any:
    """A pool over a database that no test changes."""
    async with open_pool(shared_path, readers=1) as pool:
        yield pool
        await asyncio.wait_for(assert_at_rest(pool), 10)
