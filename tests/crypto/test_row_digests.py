"""Digests of guarded rows: as docs/security.md describes them, whatever a row holds."""

import hashlib
import hmac
import json

from hypothesis import example, given
from hypothesis import strategies as st

from backend.crypto.row_digests import RowDigests
from database.engine import MalformedText

KEY = b"d" * 32
TEXTS = st.text(st.characters(exclude_categories=()))
VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | TEXTS


def documented(*content: object) -> str:
    """The digest as the documents describe it, with the standard library alone."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return "sd1:" + hmac.new(KEY, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


@given(st.integers(1, 2**63 - 1), TEXTS, st.none() | st.integers(1), st.lists(VALUES))
@example(1, "projects/1/secrets/A", 1, ['"\\/\b\f\n\r\t\0\x1f\x7f\u2028\U0001f511', "\ud800"])
def test_a_digest_is_as_documented(
    entry_id: int, target: str, version: int | None, values: list[str | int | None]
) -> None:
    digests = RowDigests(KEY)
    found = digests.of("things", entry_id, target, version, values)
    assert found == documented("things", entry_id, target, version, values)
    tombstone = digests.of("things", entry_id, target, version, None)
    assert tombstone == documented("things", entry_id, target, version, None)


def test_each_part_counts() -> None:
    of = RowDigests(KEY).of
    same = of("t", 1, "t/1", 1, ("a", "b", 1, None))
    others = [
        of("u", 1, "t/1", 1, ("a", "b", 1, None)),
        of("t", 2, "t/1", 1, ("a", "b", 1, None)),
        of("t", 1, "t/2", 1, ("a", "b", 1, None)),
        of("t", 1, "t/1", 2, ("a", "b", 1, None)),
        of("t", 1, "t/1", None, ("a", "b", 1, None)),
        of("t", 1, "t/1", 1, ("ab", "", 1, None)),
        of("t", 1, "t/1", 1, ("a", "b", "1", None)),
        of("t", 1, "t/1", 1, ("a", "b", 1, "null")),
        of("t", 1, "t/1", 1, ("a", "b", 1)),
        of("t", 1, "t/1", 1, None),
        RowDigests(b"e" * 32).of("t", 1, "t/1", 1, ("a", "b", 1, None)),
    ]
    assert len({same, *others}) == 1 + len(others)


@given(st.binary(min_size=1), st.lists(TEXTS))
@example(b"\xff", ["\ufffd"])
@example(b'"\xc3"', [])
@example(b"\xff", ["\ud800"])
def test_a_malformed_text_is_covered_as_its_bytes(stored: bytes, others: list[str]) -> None:
    text = MalformedText(stored)
    same = RowDigests(KEY).of("t", 1, "t/1", 1, [*others, text])
    assert same == RowDigests(KEY).of("t", 1, "t/1", 1, [*others, MalformedText(stored)])
    is_text = stored.decode("utf-8", "replace").encode() == stored
    assert (same == RowDigests(KEY).of("t", 1, "t/1", 1, [*others, str(text)])) == is_text
    assert (same == RowDigests(KEY).of("t", 1, "t/1", 1, [*others, MalformedText(b"\xfe")])) == (
        stored == b"\xfe"
    )
