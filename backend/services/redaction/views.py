"""A text as its readers may decode it, and where each part of that stands in the text."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final

_JSON_ESCAPES = re.compile(
    r"\\(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u(?P<number>(?![dD][89a-fA-F])[0-9a-fA-F]{4})"
    r'|(?P<short>["\\/bfnrt]))'
)
_JSON_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PERCENT_ESCAPES = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_LINE_ENDS = re.compile(r"[ \t]*\r?\n[ \t]*")

_DEEPEST: Final = 2
"""A text inside another, such as JSON in a string of JSON, is decoded this many times."""


Piece = tuple[int, int]
"""Where a part of a text begins and ends that is decoded to one character, or left out."""


class View:
    """A text, decoded or as it is."""

    __slots__ = ("_ends", "_find", "_origin", "_places", "_starts", "_width", "depth", "text")

    def __init__(
        self,
        text: str,
        origin: "View | None" = None,
        find: Callable[[str], Iterator[Piece]] | None = None,
        width: int = 1,
    ) -> None:
        """`find` finds the pieces of the text of `origin` that were decoded to `width` characters
        each."""
        self.text = text
        self.depth: int = origin.depth + 1 if origin is not None else 0
        self._origin = origin
        self._find = find
        self._width = width

    def stored(self, start: int, end: int) -> tuple[int, int]:
        """Where the part of `text` from `start` to `end`, which is not empty, stands in the text
        as it is."""
        if self._origin is None:
            return start, end
        if self._find is not None:
            self._locate(self._find, self._origin.text)
            self._find = None
        return self._origin.stored(self._span(start)[0], self._span(end - 1)[1])

    def _locate(self, find: Callable[[str], Iterator[Piece]], text: str) -> None:
        # Only for a text that has something, because it takes longer than decoding it.
        self._places: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        length = last = 0
        for start, end in find(text):
            length += start - last
            self._places.append(length)
            self._starts.append(start)
            self._ends.append(end)
            length += self._width
            last = end

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

    def of_json(self) -> "View | None":
        """With the escapes of JSON decoded; `None` when there are none."""
        text = self.text
        if "\\" not in text:
            return None
        decoded = _JSON_ESCAPES.sub(_json_character, text)
        return View(decoded, self, _json_pieces) if len(decoded) < len(text) else None

    def of_url(self) -> "View | None":
        """With the escapes of a URL decoded; `None` when there are none."""
        text = self.text
        if "%" not in text:
            return None
        decoded = _PERCENT_ESCAPES.sub(_percent_characters, text)
        return View(decoded, self, _percent_pieces) if len(decoded) < len(text) else None

    def of_form(self) -> "View | None":
        """As the value of a form, whose spaces are plus signs; `None` without a plus sign."""
        text = self.text
        if "+" not in text:
            return None
        decoded = _PERCENT_ESCAPES.sub(_percent_characters, text.replace("+", " "))
        return View(decoded, self, _percent_pieces)

    def of_lines(self) -> "View | None":
        """With all lines joined, as base64 is often broken into lines; `None` for one line."""
        text = self.text
        if "\n" not in text:
            return None
        return View(_LINE_ENDS.sub("", text), self, _line_pieces, 0)


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


def is_plain(text: str) -> bool:
    """Whether `views_of` has only the text as it is."""
    return not ("\n" in text or "\\" in text or "%" in text or "+" in text)


def _json_character(found: re.Match[str]) -> str:
    high, low, number, short = found.groups()
    if short is not None:
        return _JSON_SHORT.get(short, short)
    if number is not None:
        return chr(int(number, 16))
    return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10 | int(low, 16) & 0x3FF))


def _percent_characters(found: re.Match[str]) -> str:
    # Octets that are no UTF-8 become lone surrogates, which no value has.
    return bytes.fromhex(found[0].replace("%", "")).decode(errors="surrogateescape")


def _json_pieces(text: str) -> Iterator[Piece]:
    return (found.span() for found in _JSON_ESCAPES.finditer(text))


def _percent_pieces(text: str) -> Iterator[Piece]:
    for found in _PERCENT_ESCAPES.finditer(text):
        start = found.start()
        for character in _percent_characters(found):
            end = start + 3 * len(character.encode(errors="surrogateescape"))
            yield start, end
            start = end


def _line_pieces(text: str) -> Iterator[Piece]:
    return (found.span() for found in _LINE_ENDS.finditer(text))
