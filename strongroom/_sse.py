"""Server-Sent Events, as the HTML standard reads them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Message(NamedTuple):
    """A message of a stream."""

    event: str
    """Its name; `message` if the stream gives none."""
    data: str
    id: str
    """The last id of the stream so far, empty if there was none."""


class Parser:
    """Makes messages of the bytes of one connection."""

    def __init__(self) -> None:
        self.retry: float | None = None
        """The seconds that the server wants to be left alone before the next connection."""
        self._rest = b""
        self._is_first = True
        self._id = ""
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The messages that these bytes complete. What is incomplete at the end is no message."""
        whole = self._rest + chunk
        if self._is_first:
            if _BOM.startswith(whole):
                self._rest = whole
                return
            whole = whole.removeprefix(_BOM)
            self._is_first = False
        # A return at the end may be the first half of a line's end.
        held = b"\r" if whole.endswith(b"\r") else b""
        *lines, rest = _LINE_END.split(whole.removesuffix(b"\r") if held else whole)
        self._rest = rest + held
        for line in lines:
            message = self._take(line.decode("utf-8", "replace"))
            if message is not None:
                yield message

    def _take(self, line: str) -> Message | None:
        if not line:
            return self._end()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value) / 1000
        return None

    def _end(self) -> Message | None:
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        return Message(event, "\n".join(data), self._id) if data else None
