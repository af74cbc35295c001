"""Unpacking gzip within a limit, and reading NDJSON as strictly as JSON."""

import gzip
import json
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadRequest, BodyTooLarge, MalformedJson
from backend.http.bulk_bodies import MAX_GZIP_MEMBERS, parse_lines, unpacked
from backend.http.route_policy import Lines

LINES = Lines("logs", 1000)
MIB = 1024 * 1024


def test_unpacking_never_takes_much_more_than_the_limit() -> None:
    bomb = gzip.compress(b"\0" * (200 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            unpacked(bomb, MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What was unpacked, and the piece that is added to it.
    assert peak < 3 * MIB


def test_the_limit_is_exact() -> None:
    content = random.Random(1).randbytes(100_000)  # noqa: S311
    for parts in (1, 2, 7):
        size = len(content) // parts + 1
        starts = range(0, len(content), size)
        body = b"".join(gzip.compress(content[start : start + size]) for start in starts)
        assert unpacked(body, len(content)) == content
        with pytest.raises(BodyTooLarge):
            unpacked(body, len(content) - 1)


def test_the_number_of_parts_is_limited() -> None:
    part = gzip.compress(b"")
    assert unpacked(part * MAX_GZIP_MEMBERS, MIB) == b""
    with pytest.raises(BadRequest):
        unpacked(part * (MAX_GZIP_MEMBERS + 1), MIB)


_pieces = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"b"', b"1", b"null", b"NaN", b" "),
        *(b"\t", b"\r", b"\n", b"\\", b"\\n", b"\\ud83d\\udd25", b"\\ud800", b"\xc3\xa4", b"\xff"),
    ]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
_line = (
    _values.map(lambda value: json.dumps(value).encode())
    | _values.map(lambda value: json.dumps(value, ensure_ascii=False).encode())
    | st.lists(_pieces, max_size=8).map(b"".join)
)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def refused(name: str) -> Any:
    raise ValueError(name)


def read_by_python(body: bytes) -> list[Any]:
    """The values of all lines as Python's decoder reads them, with what it could refuse. Raises
    `ValueError` for a wrong line, and if there are no values."""
    values = [
        json.loads(line, object_pairs_hook=without_repeats, parse_constant=refused)
        for line in body.decode().split("\n")
        if line.strip(" \t\r")
    ]
    # Fails for lone surrogates.
    json.dumps(values, ensure_ascii=False).encode()
    if not values:
        raise ValueError
    return values


@given(st.lists(_line, max_size=6), st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"]))
def test_lines_are_read_as_python_reads_each(parts: list[bytes], end: bytes) -> None:
    body = end.join(parts)
    try:
        expected = read_by_python(body)
    except ValueError:
        with pytest.raises(MalformedJson):
            parse_lines(body, LINES)
        return
    values, numbers = parse_lines(body, LINES)
    assert values == expected
    assert [json.loads(body.split(b"\n")[number - 1]) for number in numbers] == values
