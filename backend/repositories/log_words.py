"""The words of a log's message, the same for every engine.

`docs/logs.md` tells users what a word is. Everything that the index stores and looks up passes
through here, so a change of the words needs all logs to be indexed again.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final
from unicodedata import normalize

from backend.repositories.character_kinds import MARK, OTHER, PAIR, SYMBOL, UNKNOWN, kind_of

ASCII_SYMBOLS: Final = "$+<=>|~"
"""The symbols of ASCII. Its other signs are punctuation."""

_SEPARATOR = "\0"
"""Separates messages, which can't contain it, so that many are split by one call."""
_ESCAPE: Final = re.compile(
    r"""
    # Colours and the like, which are inside of words, and the rest of one that was cut off.
      (?: \x1b\[ | \x9b ) [0-?]*+ [\ -/]*+ (?P<final> [@-~] )?
    # A title or the address of a link, with its end on the same line: what was cut off must not
    # hide the lines up to another end. Their forms of one byte are letters in text that was read
    # in a wrong encoding.
    | \x1b \] [^\x07\x1b\x9c\0\n\r]*+ (?: \x07 | \x9c | \x1b\\ )
    # Another string, such as an image, with its end.
    | \x1b [PX^_] [^\x07\x1b\x9c\0]*+ (?: \x07 | \x9c | \x1b\\ )
    # The choice of a character set.
    | \x1b [\ -/]++ [0-~]?
    | \x1b (?P<simple> [0-~] )?
    """,
    re.VERBOSE,
)
_MOVES = frozenset("ABCDEFGHIZadefu" + chr(0x60))
"""The last letters of sequences that move the cursor, so that what follows is another word."""
_INVISIBLE = frozenset("\\=>NO[]PX^_")
"""The letters of short escapes that do not move the cursor."""

_ASCII: Final = bytes(
    code
    if code >= 0x80 or chr(code) in ASCII_SYMBOLS + _SEPARATOR
    else ord(chr(code).lower() if chr(code).isalnum() else " ")
    for code in range(256)
)
"""ASCII in lower case, with a blank for what separates words. Other bytes belong to UTF-8."""
_SPACED: Final = [(symbol.encode(), f" {symbol} ".encode()) for symbol in ASCII_SYMBOLS]
_SYMBOL_BYTES: Final = ASCII_SYMBOLS.encode()

# With the ASCII characters that a following mark may change into another symbol.
_NOT_ASCII: Final = re.compile(r"[<=>]?[^\x00-\x7f]+")
_KNOWN_OR_NOT: Final = re.compile(f"{UNKNOWN}+|[^{UNKNOWN}]+")
_PAIRS_OR_NOT: Final = re.compile(f"{PAIR}+|[^{PAIR}]+")
_REMEMBERED_LENGTH: Final = 24
_REMEMBERED: Final = 8192
"""The most runs, and characters, that are remembered."""


def indexed_text(text: str) -> str:
    """The words of a text in their order, separated by blanks.

    Words are in lower case, without accents, and without the escapes of terminals. They contain no
    punctuation and no ASCII symbol, unless they are a symbol.
    """
    return _split(text.replace(_SEPARATOR, " "))


def indexed_texts(texts: Sequence[str]) -> list[str]:
    """The `indexed_text` of each text, in a fraction of the time if there are many."""
    found = _split(_SEPARATOR.join(texts)).split(_SEPARATOR)
    # A text with a NUL, which no message has.
    return found if len(found) == len(texts) else [indexed_text(text) for text in texts]


def words(text: str) -> list[str]:
    """The words of a text in their order."""
    return indexed_text(text).split()


def phrases(text: str) -> list[str]:
    """What a search for `text` looks for: for each of its terms, which blanks separate, the words
    that must follow each other, separated by blanks. Terms without a word are left out."""
    found = (_phrase(words(term)) for term in without_escapes(text).split())
    return list(dict.fromkeys(phrase for phrase in found if phrase))


def without_escapes(text: str) -> str:
    """The text as a terminal shows it, with a blank where an escape moves the cursor."""
    return _ESCAPE.sub(_escape, text) if "\x1b" in text or "\x9b" in text else text


def _escape(found: re.Match[str]) -> str:
    final, simple = found["final"], found["simple"]
    moves = final in _MOVES if final else simple is not None and simple not in _INVISIBLE
    return " " if moves else ""


def _phrase(words: list[str]) -> str:
    """The words, without characters at the ends that a pair beside them contains."""
    first = 1 if len(words) > 1 and _is_pair_of(words[1], words[0]) else 0
    last = -1 if len(words) > 2 and _is_pair_of(words[-2], words[-1]) else len(words)
    return " ".join(words[first:last])


def _is_pair_of(pair: str, character: str) -> bool:
    return len(pair) == 2 and len(character) == 1 and character in pair and _is_pair(character)


def _is_pair(character: str) -> bool:
    return not character.isascii() and kind_of(ord(character)) == PAIR


def _split(text: str) -> str:
    """The words of texts, of which each is separated from the next."""
    text = without_escapes(text)
    if not text.isascii():
        text = _NOT_ASCII.sub(_folded, text)
    data = text.encode().translate(_ASCII)
    if len(data.translate(None, _SYMBOL_BYTES)) != len(data):
        for symbol, spaced in _SPACED:
            if symbol in data:
                data = data.replace(symbol, spaced)
    return data.decode()


def _folded(found: re.Match[str]) -> str:
    run = found[0]
    return _remembered(run) if len(run) <= _REMEMBERED_LENGTH else _fold(run)


def _fold(run: str) -> str:
    """The words of a run of characters that are not ASCII, with blanks where they have to be
    separated from each other or from what is around."""
    kinds = run.translate(_KINDS)
    # What Unicode 14 does not know may have other normal forms in another interpreter.
    composed = "".join(
        run[found.start() : found.end()]
        if found[0][0] == UNKNOWN
        else normalize("NFC", run[found.start() : found.end()])
        for found in _KNOWN_OR_NOT.finditer(kinds)
    )
    if composed != run:
        kinds = composed.translate(_KINDS)
    if MARK in kinds:
        composed = "".join(_without_marks(composed, kinds))
        kinds = kinds.replace(MARK, "")
    if PAIR not in kinds:
        return composed.translate(_FOLDED)
    return "".join(
        _pairs(composed[found.start() : found.end()])
        if found[0][0] == PAIR
        else composed[found.start() : found.end()].translate(_FOLDED)
        for found in _PAIRS_OR_NOT.finditer(kinds)
    )


_remembered = lru_cache(_REMEMBERED)(_fold)


def _without_marks(text: str, kinds: str) -> Iterator[str]:
    return (character for character, kind in zip(text, kinds, strict=True) if kind != MARK)


def _pairs(run: str) -> str:
    """Each character of the run as a word, and each pair in its place between them: of `abc`
    `a ab b bc c`, so that any part of the run is found as a row of words."""
    pairs = (f"{first} {first}{second}" for first, second in pairwise(run))
    return f" {' '.join((*pairs, run[-1]))} "


class _Remembering(dict[int, str]):
    """What a function gives for a code point: a table for `str.translate`."""

    def __init__(self, function: Callable[[str], str]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, code: int) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = self[code] = self._function(chr(code))
        return value


def _kind(character: str) -> str:
    if character.isascii():
        return SYMBOL if character in ASCII_SYMBOLS else OTHER
    return kind_of(ord(character))


def _folded_character(character: str) -> str:
    """The character as a part of a word, or as a word with its blanks, or a blank."""
    if character.isascii():
        return character
    kind = _kind(character)
    if kind == UNKNOWN:
        return character
    if kind == OTHER:
        return " "
    if kind == SYMBOL:
        return f" {character} "
    base = normalize("NFD", character)[0]
    return _lower(base if base.isascii() and base.isalpha() else character)


def _lower(character: str) -> str:
    """The character in lower case, if it is one character then."""
    for lower in (character.casefold(), character.lower()):
        if len(lower) == 1:
            return lower
    return character


_KINDS = _Remembering(_kind)
_FOLDED = _Remembering(_folded_character)
