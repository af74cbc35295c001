"""Server-Sent Events are read as the HTML standard says, however the bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._sse import Message, Parser


def _read(*chunks: bytes) -> list[Message]:
    parser = Parser()
    return [message for chunk in chunks for message in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (b"data: a\n\n", [("message", "a", "")]),
        (b"data:a\ndata: b\ndata\n\n", [("message", "a\nb\n", "")]),
        (b"event: ready\ndata: {}\nid: 1-2\n\n", [("ready", "{}", "1-2")]),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [("message", "a", "1"), ("message", "b", "1")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [("message", "a", "1"), ("message", "b", "")]),
        (b"event: x\n\ndata: a\n\n", [("message", "a", "")]),
        (b": comment\n\nfield: x\ndata:  a\n\n", [("message", " a", "")]),
        (b"data: a\r\n\r\ndata: b\r\r", [("message", "a", ""), ("message", "b", "")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", "a", "")]),
        (b"id: a\0b\ndata: \xe2\x82\xac\n\n", [("message", "€", "")]),
        (b"data: unfinished\n", []),
    ],
)
def test_messages(text: bytes, messages: list[tuple[str, str, str]]) -> None:
    # A return at the end may be half of a line's end, so something follows it.
    whole = text + b":\n"
    assert _read(whole) == messages
    assert _read(*[bytes([byte]) for byte in whole]) == messages


@given(
    st.lists(st.sampled_from([b"data: a", b"id: 1", b":", b"", b"event: e", "data: ü".encode()])),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_cuts_make_no_difference(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    whole = end.join(lines) + end + end + b":\n"
    places = [0, *sorted(cuts), len(whole)]
    parts = [whole[start:stop] for start, stop in itertools.pairwise(places)]
    assert _read(*parts) == _read(whole)


def test_the_time_to_come_back() -> None:
    parser = Parser()
    assert list(parser.feed(b"retry: 1500\nretry: soon\nretry: \n\n")) == []
    assert parser.retry == 1.5
