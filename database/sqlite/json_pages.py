"""Pages as JSON text, written by SQLite itself.

A row that SQLite converts to JSON never becomes a Python tuple, dict or model, and the interpreter
lock is not released for each row. A page of fifty rows takes a third of the time.

Another program may have written texts to the file that are not UTF-8 or not JSON. SQLite passes on
the former and refuses the latter; either way the page is then read row by row. A text is shown with
U+FFFD for what can't be decoded, and a text that is not JSON as an empty object.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache

from database.engine import (
    Executor,
    JsonMember,
    JsonObject,
    MalformedText,
    Params,
    Row,
    Value,
    is_utf8,
)
from database.errors import StatementError, TooLong

# JSON escapes every control character, so no row's JSON contains this one.
_SEPARATOR = b"\x1e"


async def fetch_json_page(
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
    """See `Dialect.fetch_json_page`."""
    # The left side of a LEFT JOIN is read first, so the rows keep their order.
    source = f"({select}) AS page{joins}"
    rows = _rows(source, members, keys)
    try:
        try:
            sql = _whole(source, members, keys) + _no_large_row(large, limit)
            row = await executor.fetch_within(sql, params, most_bytes)
        except TooLong:
            return await _row_by_row(executor, rows, params, limit, most_bytes)
    except StatementError:
        # SQLite does not tell a text that is not JSON from other faults. Those are raised again.
        rows = _rows(source, members, keys, any_text=True)
        return await _row_by_row(executor, rows, params, limit, most_bytes)
    if row is None or row[0] is None:
        return [], None
    page, positions = _bytes(row[0]), _bytes(row[1])
    if not is_utf8(page):
        # The bytes are counted again, because U+FFFD takes three of them.
        return await _row_by_row(executor, rows, params, limit, most_bytes)
    objects = page.split(_SEPARATOR)
    if len(objects) <= limit:
        return objects, None
    return objects[:limit], _position(positions.split(_SEPARATOR)[limit - 1])


async def _row_by_row(
    executor: Executor, rows: str, params: Params, limit: int, most_bytes: int
) -> tuple[list[bytes], tuple[Value, ...] | None]:
    """The same, but each row is checked before the next one is read."""
    objects: list[bytes] = []
    last = b"[]"
    room = most_bytes
    more = False

    def takes(row: Row) -> bool:
        nonlocal last, room, more
        object_ = _readable(_bytes(row[0]))
        # One more byte for the comma.
        room -= len(object_) + 1
        more = bool(objects) and (room < 0 or len(objects) == limit)
        if not more:
            objects.append(object_)
            last = _bytes(row[1])
        return not more

    await executor.fetch_while(rows, params, takes)
    return objects, _position(last) if more else None


def _bytes(value: Value) -> bytes:
    """A BLOB. A string would be built with the interpreter lock held, and an emoji in it makes each
    of its characters take four bytes."""
    assert isinstance(value, bytes)  # noqa: S101 - SQLite was told to make one
    return value


def _readable(text: bytes) -> bytes:
    return text if is_utf8(text) else text.decode("utf-8", "replace").encode()


def _position(keys: bytes) -> tuple[Value, ...]:
    # Exactly as stored, or the next page would begin at another place.
    values: list[Value] = json.loads(keys.decode("utf-8", "surrogateescape"))
    return tuple(map(_key, values))


def _key(value: Value) -> Value:
    if not isinstance(value, str) or value.isascii():
        return value
    stored = value.encode("utf-8", "surrogateescape")
    return value if is_utf8(stored) else MalformedText(stored)


def _whole(source: str, members: Mapping[str, JsonMember], keys: Sequence[str]) -> str:
    # The inner query has its own ORDER BY and LIMIT, so SQLite does not merge it into the outer
    # query, and the rows are aggregated in its order.
    return (
        f"SELECT CAST(group_concat({_object(members)}, char(30)) AS BLOB),"  # noqa: S608
        f" CAST(group_concat({_array(keys)}, char(30)) AS BLOB) FROM {source}"
    )


def _no_large_row(large: Sequence[str], limit: int) -> str:
    # The aggregate is too long only after all rows were read. A blob beyond the length limit fails
    # at once, without being allocated. So no row may be larger than twice its share.
    if not large:
        return ""
    size = " + ".join(f"COALESCE(length(page.{column}), 0)" for column in large)
    return f" WHERE length(zeroblob(({size}) * {(limit + 1) // 2:d})) >= 0"


def _rows(
    source: str, members: Mapping[str, JsonMember], keys: Sequence[str], *, any_text: bool = False
) -> str:
    return (
        f"SELECT CAST({_object(members, any_text=any_text)} AS BLOB),"  # noqa: S608
        f" CAST({_array(keys)} AS BLOB) FROM {source}"
    )


def _array(columns: Sequence[str]) -> str:
    return f"json_array({', '.join(f'page.{column}' for column in columns)})"


def _object(members: Mapping[str, JsonMember], *, any_text: bool = False) -> str:
    return _object_of(tuple(members.items()), any_text)


# To build it again would take as long as to read ten rows.
@lru_cache(maxsize=64)
def _object_of(members: tuple[tuple[str, JsonMember], ...], any_text: bool) -> str:
    return _joined([(name, _expression(f"page.{name}", kind, any_text)) for name, kind in members])


def _joined(parts: Sequence[tuple[str, str]]) -> str:
    members = ", ".join(f"'{name}', {expression}" for name, expression in parts)
    return f"json_object({members})"


def _expression(value: str, kind: JsonMember, any_text: bool) -> str:
    if isinstance(kind, JsonObject):
        return _part(kind, any_text)
    if kind == "boolean":
        return f"json(CASE {value} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END)"
    if kind == "double":
        return _shortest(value)
    if kind == "json" and any_text:
        # Parsed twice, so only where it is necessary.
        return f"json(CASE json_valid({value}) WHEN 0 THEN '{{}}' ELSE {value} END)"
    return f"json({value})" if kind == "json" else value


def _part(part: JsonObject, any_text: bool) -> str:
    made = _joined(
        [(name, _expression(value, kind, any_text)) for name, value, kind in part.members]
    )
    if part.unless_null is None:
        return made
    return f"CASE WHEN {part.unless_null} IS NULL THEN NULL ELSE {made} END"


def _shortest(value: str) -> str:
    # By itself, SQLite writes 15 digits, with which some doubles read back as others.
    return (
        f"CASE WHEN CAST(CAST({value} AS TEXT) AS REAL) = {value} THEN {value}"
        f" WHEN CAST(printf('%!.16g', {value}) AS REAL) = {value}"
        f" THEN json(printf('%!.16g', {value}))"
        f" WHEN {value} IS NOT NULL THEN json(printf('%!.17g', {value})) END"
    )
