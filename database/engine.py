"""The interface that every database engine offers to the code above it."""

import codecs
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextvars import Context, ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, NamedTuple, Protocol, Self, TypeAlias

Value: TypeAlias = str | bytes | int | float | None
"""The value of a parameter or of a column."""
Params: TypeAlias = Sequence[Value]
JsonKind = Literal["plain", "boolean", "json"]
"""How a column is stored: as in the answer, as 0 or 1, or as JSON text."""


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Members of an answer that are an object of their own."""

    members: tuple[tuple[str, str, "JsonMember"], ...]
    """The name, the expression and the kind of each. An object in it has no expression."""
    unless_null: str | None = None
    """An expression; if it is NULL, the answer has null instead of the object."""


JsonMember: TypeAlias = JsonKind | Literal["double"] | JsonObject
"""What a member of an answer is made from: a column, which may also be a double, in the shortest
form that reads back as the same double; or several expressions."""


class MalformedText(str):
    """A stored text that is not UTF-8, because the file was changed by another program. As a string
    it has U+FFFD for what can't be decoded, so it can be shown and compared like any other."""

    __slots__ = ("stored",)

    stored: bytes
    """The bytes in the file."""

    def __new__(cls, stored: bytes) -> Self:
        text = super().__new__(cls, stored.decode("utf-8", "replace"))
        text.stored = stored
        return text


def is_utf8(text: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    if text.isascii():
        return True
    decoder = _DECODER()
    try:
        # In parts, because the string of a large page would take up to four times its memory.
        for start in range(0, len(text), _PART):
            decoder.decode(text[start : start + _PART])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


_DECODER = codecs.getincrementaldecoder("utf-8")
_PART = 32 * 1024


class CommitFaults(Protocol):
    """Decides which commits fail, for tests of the programs that use the service. The writer's
    thread asks."""

    def note_job(self, context: Context) -> None:
        """Note what was in `context` when a job of the next commit was asked for."""
        ...

    def of_commit(self, *, has_changes: bool) -> Exception | None:
        """The error of the commit that is about to happen; `None` if it may succeed."""
        ...


class Row(Protocol):
    """A row of a result: its values by name, or by position in the order of the columns."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def keys(self) -> list[str]: ...


unit_of_work: ContextVar[object | None] = ContextVar("strongroom_unit", default=None)
"""The engine's object for the unit of work that runs on this thread; `None` outside of one."""


def in_unit_of_work() -> bool:
    """Whether the caller runs inside a unit of work, on a database thread."""
    return unit_of_work.get() is not None


class Call(NamedTuple):
    """A unit of work that runs together with others."""

    context: Context
    """The context variables of its caller."""
    arguments: tuple[Any, ...]


class Outcome(Enum):
    """An outcome of a unit that ran together with others, other than a result."""

    ALONE = "alone"
    """It has had no effect, and has to run on its own."""


ALONE: Final = Outcome.ALONE
Together: TypeAlias = Callable[[Sequence[Call]], Coroutine[Any, Any, Sequence[Any]]]
"""Runs units that are alike as one. Returns the result of each in their order, or `ALONE`.

It is for what usually succeeds. If it raises, all of the units run on their own, so that each gets
its own error."""


class Executor(Protocol):
    """The interface for repositories, which the pool and a transaction both implement.

    Every method raises `DatabaseError`, never an exception of the driver.
    """

    @property
    def dialect(self) -> "Dialect":
        """The operations that differ between engines."""
        ...

    async def fetch_all(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows of a reading statement."""
        ...

    async def fetch_one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of a reading statement, or `None` without a row."""
        ...

    async def fetch_within(self, sql: str, params: Params, most_bytes: int) -> Row | None:
        """The first row of a reading statement, or `None` without a row. Raises `TooLong` as soon
        as any text or row that it reads or makes has more than `most_bytes`."""
        ...

    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None:
        """Call `takes` with each row of a reading statement, on the thread that reads them, until
        it returns False. Later rows are not read."""
        ...

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run a writing statement. Returns the number of inserted, updated or deleted rows."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Params]) -> int:
        """Run a writing statement once for each of `rows`. Returns the total number of changed
        rows. One statement may take several rows, so two rows of an upsert must not have the same
        key."""
        ...

    async def insert(self, sql: str, params: Params, rows: int) -> Sequence[int]:
        """Run an INSERT of this many rows into a table that assigns their ids. Returns the ids in
        the order of the rows."""
        ...

    async def execute_returning(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a writing statement with RETURNING. Returns its rows."""
        ...

    async def append(self, entries: Sequence[Any]) -> None:
        """Append entries to the transaction. The function that the engine was given for them
        writes those of all units of a batch together, before the COMMIT. If the unit fails, its
        entries are dropped; if they can't be written, the whole batch fails."""
        ...

    async def gather(self, write: "WriteEntries", rows: Sequence[Any]) -> None:
        """Have `write` store the rows, perhaps together with those of the units that follow: at the
        latest before the next statement of this unit, a unit of another kind, and the COMMIT.

        Until a unit has gathered, its statements may not see what earlier units of its kind have
        gathered, so it must not read or change the same rows before. Pass the same object as
        `write` each time, because rows are stored together only if it is the same. If the unit
        fails, its rows are dropped; if its rows can't be stored, it fails with the error of
        `write`, and the other units do not.
        """
        ...

    def time(self, read: Callable[[], str]) -> str:
        """The result of `read`, a clock; inside a transaction always the first one, so that all of
        its changes have the same time."""
        ...

    def waiting_entries(self) -> Sequence[Any]:
        """The entries that the open transaction has so far, of all units of its batch; none outside
        of a transaction."""
        ...


class Transaction(Executor, Protocol):
    """The executor inside a transaction. Statements see the changes of earlier ones.

    Usable only within its block: afterwards every method raises `UnitOfWorkError`.
    """


WriteEntries: TypeAlias = Callable[[Executor, Sequence[Any]], Coroutine[Any, Any, None]]
"""Writes what the units of a batch appended or gathered, in the order of the units. It awaits only
statements of the executor, and may run in the context of any of the units."""


class Dialect(Protocol):
    """The operations of repositories that each engine implements in its own way.

    Every method raises the errors of its executor.
    """

    async def fetch_json_page(
        self,
        executor: Executor,
        select: str,
        params: Params,
        *,
        members: Mapping[str, JsonMember],
        keys: Sequence[str],
        large: Sequence[str],
        limit: int,
        most_bytes: int,
        joins: str = "",
    ) -> tuple[list[bytes], tuple[Value, ...] | None]:
        """The first `limit` rows of `select`, each as a JSON object in UTF-8 with `members`, and
        the `keys` of the last one if there are more rows, else `None`.

        All objects together have at most `most_bytes`, unless there is only one object. Not much
        more is read. `large` names the columns that may hold many kilobytes. `select` must be
        ordered, and must allow at least `limit` + 1 rows.

        `joins` are left joins that find at most one row for each row of `select`, which they call
        `page`. Expressions in `members` may use them. The rows keep their order.
        """
        ...

    def utf8(self, column: str) -> str:
        """The expression that gives the text of `column` as bytes in UTF-8. For large texts that
        are only passed on: bytes are copied, but a string has to be decoded and encoded again."""
        ...

    def text_index(self, name: str, words: str, labels: str) -> "TextIndex":
        """The full-text index `name` with the columns `words`, which is what people search, and
        `labels`, which has words made from other columns."""
        ...

    def earlier_text_index(
        self, name: str, source: str, text: str, labels: str
    ) -> "EarlierTextIndex":
        """The full-text index `name` of an earlier version over two columns of `source`, whose
        `id` is the row's id."""
        ...

    def substring_index(self, name: str, source: str, parts: str, counts: str) -> "SubstringIndex":
        """The index `name` of the parts of the texts of `source`, whose columns are `id` and
        `text`. `parts` and `counts` are the names of what the engine needs besides."""
        ...

    async def next_id(self, db: Executor, table: str) -> int:
        """An id for a new row of `table` that no row ever had. It stays the same until a row has
        it."""
        ...


class IndexedRows(NamedTuple):
    """Rows of a table as their full-text index has them: in the same order the id of each, its
    words and its labels, which are separated by blanks."""

    ids: Sequence[int]
    words: Sequence[str]
    labels: Sequence[str]


class _Found(Protocol):
    """What a full-text index is asked."""

    async def tidy(self, db: Executor, *, begin: bool) -> bool:
        """Free a part of the space that removed rows take in the index. Returns whether more is
        left. The first call of a round must set `begin`."""
        ...

    def joined(self, table: str, alias: str) -> tuple[str, str]:
        """The FROM clause for rows of `table`, named `alias`, that `matching` finds, and the
        expression for their ids. Order the rows by that expression."""
        ...


class TextIndex(_Found, Protocol):
    """Finds the rows of a table that contain given words and labels, newest first.

    Every change must be reported in the transaction that changes the rows. The caller splits the
    words, the same way each time. A word is of ASCII letters and digits in lower case and of other
    characters, or one ASCII symbol.
    """

    async def add(self, db: Executor, rows: IndexedRows) -> None:
        """Index these rows, which must not be indexed yet."""
        ...

    async def remove(self, db: Executor, rows: IndexedRows) -> None:
        """Remove these rows, which must be in the index with the same words and labels."""
        ...

    def matching(
        self, phrases: Sequence[str], labels: Iterable[Sequence[str]]
    ) -> tuple[str, tuple[Value, ...]]:
        """The condition, with its parameters, for rows that contain all of `phrases`, each of
        words that follow each other, and that have one of each group of `labels`. There must be a
        phrase or a label."""
        ...


class EarlierTextIndex(_Found, Protocol):
    """An index of an earlier version, which splits words itself. Rows only leave it."""

    async def remove(self, db: Executor, ids: Sequence[int]) -> None:
        """Remove the rows with these ids, before their deletion. All of them must be in it."""
        ...

    async def clear(self, db: Executor) -> None:
        """Free the space of an index whose rows were all removed."""
        ...

    def matching(
        self, words: Sequence[str], labels: Iterable[Sequence[str]]
    ) -> tuple[str, tuple[Value, ...]]:
        """The condition, with its parameters, for rows whose text contains all of `words` and that
        have one of each group of `labels`. There must be a word or a label. Words are not parsed
        as a query."""
        ...


class Candidates(NamedTuple):
    """The rows that may contain a part: all that contain it, and perhaps some others."""

    ids: str
    """A SELECT of their ids as `found_id`, each of them at least once."""
    params: tuple[Value, ...]
    """The parameters of `ids`."""
    most: int
    """There are no more of them, if they are few."""
    matching: tuple[str, tuple[Value, ...]] | None
    """The condition with its parameters that finds them in what `SubstringIndex.joined` returns;
    `None` if the engine can't find them in the order of their ids."""


class SubstringIndex(Protocol):
    """Finds the rows whose text contains a given part.

    Every change must be reported in the transaction that changes the rows: new rows after their
    insertion, others before their deletion, and before and after each change of their text.
    """

    async def add(self, db: Executor, first_id: int, last_id: int) -> None:
        """Index the rows with ids in this range, none of which may be indexed yet."""
        ...

    async def remove(self, db: Executor, id: int) -> None:
        """Remove a row from the index. Nothing happens if the source does not have it."""
        ...

    async def tidy(self, db: Executor, *, begin: bool) -> bool:
        """Remove a part of what the index still has of removed rows. Returns whether more is left.
        The first call of a round must set `begin`."""
        ...

    async def check(self, db: Executor) -> bool:
        """Whether the index matches the rows of the source exactly. Reads all of both."""
        ...

    async def candidates(self, db: Executor, part: str, few: int) -> Candidates:
        """The rows that may contain `part`, which is not empty and has no NUL. Their number is
        counted as far as `few`."""
        ...

    def joined(self, table: str) -> tuple[str, str, str]:
        """The FROM clause for candidates of `table`, the condition that joins them, and the
        expression for their ids. To read them in the order of that expression takes no sort."""
        ...
