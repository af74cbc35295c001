"""Reads project documents from a stream of lines, in parts of bounded size."""

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from backend.cli.report import shown_name
from backend.errors import MalformedJson
from backend.http.strict_json import parse_json
from backend.schemas.projects import ProjectDocument
from models import KEY_PATTERN

CHUNK_LINES = 256
CHUNK_BYTES = 4 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024
SHOWN_ERRORS = 3

_BOM = b"\xef\xbb\xbf"
_KEY = re.compile(KEY_PATTERN)


class Line(NamedTuple):
    """A line of the file. Its text is `None` when it is longer than `MAX_LINE_BYTES`."""

    number: int
    text: bytes | None


class LineRejected(Exception):
    """The line can't be imported. The message says why and repeats no value."""


def read_chunks(stream: BinaryIO) -> Iterator[tuple[list[Line], int]]:
    """The lines that are not blank, in parts, each with the number of bytes read for it."""
    chunk: list[Line] = []
    taken = 0
    for number, (text, size) in enumerate(_lines(stream), start=1):
        taken += size
        if text is None or text.strip():
            chunk.append(Line(number, text))
        if len(chunk) >= CHUNK_LINES or taken >= CHUNK_BYTES:
            yield chunk, taken
            chunk, taken = [], 0
    yield chunk, taken


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes | None, int]]:
    first = True
    while text := stream.readline(MAX_LINE_BYTES + 1):
        size = len(text)
        if size > MAX_LINE_BYTES:
            # The rest of the line is read in parts and discarded.
            while text and not text.endswith(b"\n"):
                text = stream.readline(MAX_LINE_BYTES)
                size += len(text)
            yield None, size
        else:
            yield text.removeprefix(_BOM) if first else text, size
        first = False


def parse_line(line: Line) -> ProjectDocument:
    """The document in the line. Raises `LineRejected`."""
    if line.text is None:
        raise LineRejected(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        value = parse_json(line.text.strip(), "it", is_line=True)
    except MalformedJson as error:
        raise LineRejected(error.detail) from None
    if not isinstance(value, dict):
        raise LineRejected("it is not a JSON object")
    try:
        return ProjectDocument.model_validate(value)
    except ValidationError as error:
        raise LineRejected(_reasons(error)) from None


def _reasons(error: ValidationError) -> str:
    items = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = [f"{_pointer(item['loc'])}: {item['msg']}" for item in items[:SHOWN_ERRORS]]
    if len(items) > SHOWN_ERRORS:
        reasons.append(f"and {len(items) - SHOWN_ERRORS} more")
    return "; ".join(reasons)


def _pointer(location: tuple[str | int, ...]) -> str:
    parts = [str(part) for part in location if part != "[key]"]
    if parts and parts[0] == "secrets":
        # If the file mixes up names and values, no value may appear in the report.
        parts[1:] = [part if _KEY.match(part) else "*" for part in parts[1:2]]
    return "".join(f"/{shown_name(part)}" for part in parts)
