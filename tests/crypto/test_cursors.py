"""Cursors: what is encoded is decoded again, for the same list only."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.crypto.cursors import CursorCodec
from backend.errors import BadCursor
from database.engine import MalformedText

CODEC = CursorCodec(b"k" * 32)
POSITIONS = st.lists(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.none(),
    ),
    min_size=1,
    max_size=3,
)
FILTERS = st.lists(st.one_of(st.none(), st.text(max_size=9), st.integers()), max_size=3)


@given(POSITIONS, FILTERS)
def test_a_position_comes_back(position: list[Any], filters: list[Any]) -> None:
    cursor = CODEC.encode(position, "list", *filters)
    assert CODEC.decode(cursor, "list", *filters) == tuple(position)
    assert cursor.isascii()
    assert set(cursor).isdisjoint("+/=&?# ")


@given(POSITIONS, FILTERS, FILTERS)
def test_a_cursor_is_of_one_list(position: list[Any], first: list[Any], second: list[Any]) -> None:
    cursor = CODEC.encode(position, "list", *first)
    for name, filters in (("other", first), ("list", second), ("list", [*first, None])):
        if (name, filters) != ("list", first):
            with pytest.raises(BadCursor):
                CODEC.decode(cursor, name, *filters)


@given(st.text(max_size=200))
def test_what_is_no_cursor_is_told(text: str) -> None:
    with pytest.raises(BadCursor):
        CODEC.decode(text, "list")


@given(POSITIONS, st.data())
def test_no_bit_of_a_cursor_can_be_changed(position: list[Any], data: st.DataObject) -> None:
    cursor = CODEC.encode(position, "list")
    index = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.characters(codec="ascii", exclude_characters=cursor[index]))
    with pytest.raises(BadCursor):
        CODEC.decode(cursor[:index] + letter + cursor[index + 1 :], "list")


def test_another_installation_s_cursor_is_none_here() -> None:
    cursor = CursorCodec(b"x" * 32).encode((1,), "list")
    with pytest.raises(BadCursor):
        CODEC.decode(cursor, "list")


def test_filters_do_not_run_together() -> None:
    cursor = CODEC.encode((1,), "list", "ab", "c")
    for filters in (("a", "bc"), ("abc",), ("ab", "c", ""), ("ab", None)):
        with pytest.raises(BadCursor):
            CODEC.decode(cursor, "list", *filters)


def test_a_malformed_text_stays_as_it_is_stored() -> None:
    cursor = CODEC.encode((MalformedText(b"a\xff"), 7), "list")
    text, id = CODEC.decode(cursor, "list")
    assert isinstance(text, MalformedText)
    assert (text, text.stored, id) == ("a\ufffd", b"a\xff", 7)
