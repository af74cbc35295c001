"""Digests of guarded rows, by which a row that was changed outside the service is found.

    digest = "sd1:" || HMAC-SHA256(key, JSON of [table, entry id, target, version, values])

in hexadecimal. The key is derived from the installation's key with the label `row-digests`. The
JSON is UTF-8 without spaces, and escapes only what JSON requires. `values` are the row's guarded
columns in their order, or null for a row that was deleted: a tombstone. A stored text that is not
UTF-8 is covered as its bytes, so that it differs from every text that is. Since the entry's id is
part of it, a digest proves nothing in another entry.

An earlier version of a row has no entry of its own, so its MAC is beside it:

    mac = "sv1:" || HMAC-SHA256(key, JSON of [table, values])
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from pydantic_core import PydanticSerializationError, to_json

from database.engine import MalformedText, Value

FORMAT = "sd1"
VERSION_FORMAT = "sv1"

Change: TypeAlias = tuple[str, int, str, int | None, Sequence[Value] | None]
"""What a digest covers: the table, the entry's id, its target and version, and the row's values;
`None` for a row that was deleted."""
_Content: TypeAlias = tuple[Any, ...]
"""What a MAC covers, with the row's values at the end."""


class RowDigests:
    """Computes digests. Safe to use from any thread."""

    __slots__ = ("_begun",)

    def __init__(self, key: bytes) -> None:
        # Copying it takes half the time of a new HMAC.
        self._begun = HMAC(key, SHA256())

    def of(
        self,
        table: str,
        entry_id: int,
        target: str,
        version: int | None,
        values: Sequence[Value] | None,
    ) -> str:
        """The digest for the entry of a change, with the row's values after it; `None` for a row
        that was deleted."""
        return self.of_each([(table, entry_id, target, version, values)])[0]

    def of_each(self, changes: Iterable[Change]) -> list[str]:
        """The same for several changes."""
        return self._macs(FORMAT, changes)

    def of_version(self, table: str, values: Sequence[Value]) -> str:
        """The MAC of an earlier version of a row, with the values that it covers."""
        return self.of_versions(table, [values])[0]

    def of_versions(self, table: str, rows: Iterable[Sequence[Value]]) -> list[str]:
        """The same for several rows."""
        return self._macs(VERSION_FORMAT, [(table, values) for values in rows])

    def _macs(self, named: str, contents: Iterable[_Content]) -> list[str]:
        # Every write waits for this, so the loop calls as few functions as it can.
        copy, head = self._begun.copy, f"{named}:"
        macs = []
        for content in contents:
            try:
                # Takes a third of the time of the standard library's encoder.
                data = to_json(content)
            except PydanticSerializationError:
                data = _json(content)
            # A malformed text has U+FFFD, which begins with this byte.
            if b"\xef" in data:
                data = _as_stored(content, data)
            mac = copy()
            mac.update(data)
            macs.append(head + mac.finalize().hex())
        return macs


def _as_stored(content: _Content, data: bytes) -> bytes:
    """`data`, the JSON of the content, with the bytes of malformed texts as they are stored."""
    *head, values = content
    if not isinstance(values, Sequence) or not any(map(_is_malformed, values)):
        return data
    return _json(head)[:-1] + b",[" + b",".join(map(_json_as_stored, values)) + b"]]"


def _json(content: object) -> bytes:
    """The content as JSON in UTF-8. A test holds both ways equal."""
    try:
        return to_json(content)
    except PydanticSerializationError:
        # A surrogate can't be stored, but SQLite can return one from a damaged text, and a number
        # that is not finite.
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "surrogatepass")


def _is_malformed(value: Value) -> bool:
    return isinstance(value, MalformedText)


def _json_as_stored(value: Value) -> bytes:
    """The value as JSON; a malformed text with the bytes that are not UTF-8."""
    if not isinstance(value, MalformedText):
        return _json(value)
    text = json.dumps(value.stored.decode("utf-8", "surrogateescape"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")
