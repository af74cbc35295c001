"""Unique values, and a search for them in every usual encoding."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus
from zlib import crc32

CORE = '+"\u00e9\U0001f511\\k3Y/+\U0001f511'
"""A part of every value, unless another one is given."""


class Sentinels:
    """Hands out unique values, and finds them again in every usual encoding."""

    def __init__(self, core: str = CORE) -> None:
        self._core = core
        self.given: dict[str, str] = {}
        """Each value by the place where it was sent."""

    def new(self, place: str) -> str:
        """A new unique value for this place."""
        value = f"Sn{len(self.given):04d}{self._core}{crc32(place.encode()):x}"
        self.given[place] = value
        return value

    def found_in(self, data: bytes) -> list[str]:
        """The places whose values occur in the data."""
        if not any(form in data for form in forms(self._core)):
            return []
        return [
            place
            for place, value in self.given.items()
            if any(form in data for form in forms(value))
        ]


def forms(value: str) -> Iterator[bytes]:
    """The usual encodings of a text."""
    for raw in (value.encode(), value.encode("utf-16-le")):
        yield raw
        yield raw.hex().encode()
        yield raw.hex().upper().encode()
        for shift in range(3):
            # The bytes before and after it change only the first and last characters.
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                yield encode(b"\0" * shift + raw + b"\0" * 3)[4:-8]
    quoted = (quote(value), quote(value, safe=""), quote_plus(value))
    escaped = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    shown = (repr(value)[1:-1], ascii(value)[1:-1], json.dumps(json.dumps(value))[3:-3])
    yield from (form.encode() for form in (*quoted, *escaped, *shown))


def files_in(directory: Path) -> Iterator[tuple[str, bytes]]:
    """The content of every file of a directory, by name."""
    for file in sorted(directory.rglob("*")):
        if file.is_file():
            yield file.name, file.read_bytes()
