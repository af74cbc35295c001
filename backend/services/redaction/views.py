"""A text as its readers may decode it, and where each part of that stands in the text."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

_JSON_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
    r'|["\\/bfnrt])'
)
_JSON_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PERCENT_ESCAPES = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_LINE_ENDS = re.compile(r"[ \t]*\r?\n[ \t]*")

_DEEPEST: Final = 2
"""A text inside another, such as JSON in a string of JSON, is decoded this many times."""


class Piece(NamedTuple):
    """A part of a text that is decoded to one character, or left out."""

    start: int
    end: int
    decoded: str


class View:
    """A text, decoded or as it is."""

    __slots__ = ("_ends", "_origin", "_places", "_starts", "_width", "depth", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.depth = 0
        self._origin: View | None = None
        self._places: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._width = 1

    def stored(self, start: int, end: int) -> tuple[int, int]:
        """Where the part of `text` from `start` to `end`, which is not empty, stands in the text
        as it is."""
        if self._origin is None:
            return start, end
        return self._origin.stored(self._span(start)[0], self._span(end - 1)[1])

    def _span(self, place: int) -> tuple[int, int]:
        """Where in the origin's text the character at `place` stands."""
        index = bisect_right(self._places, place) - 1
        if index < 0:
            return place, place + 1
        behind = place - self._places[index] - self._width
        if behind < 0:
            return self._starts[index], self._ends[index]
        start = self._ends[index] + behind
        return start, start + 1

    def _decoded(self, text: str, pieces: Iterator[Piece], width: int) -> "View | None":
        """A view of `text`, which is as long as the text of this one, with these pieces decoded to
        `width` characters; `None` without any."""
        view = View.__new__(View)
        view._places, view._starts, view._ends = [], [], []
        parts: list[str] = []
        length = last = 0
        for piece in pieces:
            parts += text[last : piece.start], piece.decoded
            length += piece.start - last
            view._places.append(length)
            view._starts.append(piece.start)
            view._ends.append(piece.end)
            length += width
            last = piece.end
        if not parts and text is self.text:
            return None
        view.text = "".join([*parts, text[last:]])
        view.depth = self.depth + 1
        view._origin = self
        view._width = width
        return view

    def of_json(self) -> "View | None":
        """With the escapes of JSON decoded; `None` when there are none."""
        if "\\" not in self.text:
            return None
        return self._decoded(self.text, _json_pieces(self.text), 1)

    def of_url(self) -> "View | None":
        """With the escapes of a URL decoded; `None` when there are none."""
        if "%" not in self.text:
            return None
        return self._decoded(self.text, _percent_pieces(self.text), 1)

    def of_form(self) -> "View | None":
        """As the value of a form, whose spaces are plus signs; `None` without a plus sign."""
        if "+" not in self.text:
            return None
        return self._decoded(self.text.replace("+", " "), _percent_pieces(self.text), 1)

    def of_lines(self) -> "View | None":
        """With all lines joined, as base64 is often broken into lines; `None` for one line."""
        if "\n" not in self.text:
            return None
        return self._decoded(self.text, _line_pieces(self.text), 0)


def views_of(text: str) -> Iterator[View]:
    """The text as it is, and as its readers may decode it."""
    waiting = [View(text)]
    seen = {text}
    for view in waiting:
        yield view
        if view.depth == _DEEPEST:
            continue
        for decode in _DECODERS:
            decoded = decode(view)
            if decoded is not None and decoded.text not in seen:
                seen.add(decoded.text)
                waiting.append(decoded)


_DECODERS: Final[tuple[Callable[[View], View | None], ...]] = (
    View.of_json,
    View.of_url,
    View.of_form,
    View.of_lines,
)


def may_be_encoded(text: str) -> bool:
    """Whether `views_of` may have more than the text as it is."""
    return "\\" in text or "%" in text or "\n" in text or "+" in text


def _json_pieces(text: str) -> Iterator[Piece]:
    for found in _JSON_ESCAPES.finditer(text):
        escape = found[0]
        if escape[1] != "u":
            decoded = _JSON_SHORT.get(escape[1], escape[1])
        elif len(escape) == 6:
            decoded = chr(int(escape[2:], 16))
        else:
            high, low = int(escape[2:6], 16), int(escape[8:], 16)
            decoded = chr(0x10000 + ((high & 0x3FF) << 10 | low & 0x3FF))
        yield Piece(found.start(), found.end(), decoded)


def _percent_pieces(text: str) -> Iterator[Piece]:
    for found in _PERCENT_ESCAPES.finditer(text):
        octets = bytes.fromhex(found[0].replace("%", ""))
        start = found.start()
        # Octets that are no UTF-8 become lone surrogates, which no value has.
        for character in octets.decode(errors="surrogateescape"):
            width = 3 * len(character.encode(errors="surrogateescape"))
            yield Piece(start, start + width, character)
            start += width


def _line_pieces(text: str) -> Iterator[Piece]:
    for found in _LINE_ENDS.finditer(text):
        yield Piece(found.start(), found.end(), "")
