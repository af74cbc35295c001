"""A text as its readers may decode it, and where each part of that stands in the text."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

_JSON_ESCAPES = re.compile(
    r"\\(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|u(?P<number>(?![dD][89a-fA-F])[0-9a-fA-F]{4})"
    r'|(?P<short>["\\/bfnrt]))'
)
_JSON_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PERCENT_ESCAPES = re.compile(r"(?:%[0-9a-fA-F]{2})+")

Piece = tuple[int, int]
"""Where a part of a text begins and ends that is decoded to one character, or left out."""


class Encoding(NamedTuple):
    """A way to write a text."""

    decode: Callable[[str], str | None]
    """Returns the decoded text; `None` where it is the same."""
    pieces: Callable[[str], Iterator[Piece]]
    """Returns what is decoded, in order."""
    width: int = 1
    """How many characters a piece is decoded to."""


class View:
    """A text, decoded or as it is."""

    __slots__ = ("_encoding", "_ends", "_origin", "_places", "_starts", "text")

    def __init__(
        self, text: str, origin: "View | None" = None, encoding: Encoding | None = None
    ) -> None:
        """`text` is the text of `origin`, decoded."""
        self.text = text
        self._origin = origin
        self._encoding = encoding
        self._places: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        if origin is not None and encoding is not None:
            self._locate(origin.text, encoding)

    def decoded(self, encoding: Encoding) -> "View":
        """The decoded text."""
        text = encoding.decode(self.text)
        return View(text, self, encoding) if text is not None else self

    def stored(self, start: int, end: int) -> tuple[int, int]:
        """Where the part of `text` from `start` to `end`, which is not empty, stands in the text
        as it is."""
        if self._origin is None:
            return start, end
        return self._origin.stored(self._span(start)[0], self._span(end - 1)[1])

    def _locate(self, text: str, encoding: Encoding) -> None:
        length = last = 0
        for start, end in encoding.pieces(text):
            length += start - last
            self._places.append(length)
            self._starts.append(start)
            self._ends.append(end)
            length += encoding.width
            last = end

    def _span(self, place: int) -> tuple[int, int]:
        """Where in the origin's text the character at `place` stands."""
        index = bisect_right(self._places, place) - 1
        if index < 0 or self._encoding is None:
            return place, place + 1
        behind = place - self._places[index] - self._encoding.width
        if behind < 0:
            return self._starts[index], self._ends[index]
        start = self._ends[index] + behind
        return start, start + 1


def decoded_texts(text: str) -> Iterator[tuple[str, Sequence[Encoding]]]:
    """What readers may decode the text to, each with the encodings that led there, without the
    text as it is."""
    for encoding, inner in _ENCODINGS.items():
        once = encoding.decode(text)
        if once is None:
            continue
        yield once, (encoding,)
        for other in inner:
            twice = other.decode(once)
            if twice is not None:
                yield twice, (encoding, other)


def view_of(text: str, encodings: Sequence[Encoding]) -> View:
    """The text, decoded in this order."""
    view = View(text)
    for encoding in encodings:
        view = view.decoded(encoding)
    return view


def _of_json(text: str) -> str | None:
    if "\\" not in text:
        return None
    decoded = _JSON_ESCAPES.sub(_json_character, text)
    return decoded if len(decoded) < len(text) else None


def _json_character(found: re.Match[str]) -> str:
    high, low, number, short = found.groups()
    if short is not None:
        return _JSON_SHORT.get(short, short)
    if number is not None:
        return chr(int(number, 16))
    return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10 | int(low, 16) & 0x3FF))


def _json_pieces(text: str) -> Iterator[Piece]:
    return (found.span() for found in _JSON_ESCAPES.finditer(text))


def _of_url(text: str) -> str | None:
    if "%" not in text:
        return None
    decoded = _PERCENT_ESCAPES.sub(_percent_characters, text)
    return decoded if len(decoded) < len(text) else None


def _of_form(text: str) -> str | None:
    """With spaces, which a form writes as plus signs."""
    if "+" not in text:
        return None
    return _PERCENT_ESCAPES.sub(_percent_characters, text.replace("+", " "))


def _percent_characters(found: re.Match[str]) -> str:
    # Octets that are no UTF-8 become lone surrogates, which no value has.
    return bytes.fromhex(found[0].replace("%", "")).decode(errors="surrogateescape")


def _percent_pieces(text: str) -> Iterator[Piece]:
    for found in _PERCENT_ESCAPES.finditer(text):
        start = found.start()
        for character in _percent_characters(found):
            end = start + 3 * len(character.encode(errors="surrogateescape"))
            yield start, end
            start = end


def _of_lines(text: str) -> str | None:
    """In one line, as base64 is before it is broken into lines, with or without indentation."""
    if "\n" not in text:
        return None
    return "".join(map(str.strip, text.split("\n")))


def _line_pieces(text: str) -> Iterator[Piece]:
    start = begin = 0
    for line in text.split("\n"):
        stripped = line.strip()
        begin_of_text = begin + len(line) - len(line.lstrip())
        yield start, begin_of_text
        start = begin_of_text + len(stripped)
        begin += len(line) + 1
    yield start, len(text)


_JSON = Encoding(_of_json, _json_pieces)
_URL = Encoding(_of_url, _percent_pieces)
_FORM = Encoding(_of_form, _percent_pieces)
_LINES = Encoding(_of_lines, _line_pieces, 0)
_ENCODINGS: Final[Mapping[Encoding, Sequence[Encoding]]] = {
    _JSON: (_JSON, _URL, _LINES),
    _URL: (_JSON, _LINES),
    _FORM: (_JSON,),
    _LINES: (),
}
"""Each encoding, and those of texts inside it that are looked at: not all, since each takes as long
as looking through the text."""
