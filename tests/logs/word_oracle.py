"""What a search should find, by another way: without pairs of characters, and without an index.

A message is a row of atoms: a word, a symbol, or one character of a script without spaces, which
knows whether another such character stands directly before it. A term is found if its atoms stand
in the message in a row; what stands before the first one does not matter.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

_WITHOUT_SPACES = (
    *("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "HALFWIDTH"),
    *("THAI", "LAO", "KHMER", "MYANMAR"),
)


class Atom(NamedTuple):
    """A part of a message that is found on its own."""

    text: str
    follows: bool = False
    """Whether it stands directly after another character of a script without spaces."""


def atoms(text: str) -> list[Atom]:
    """The atoms of a text in their order."""
    found: list[Atom] = []
    word, after = "", False

    def end_word() -> None:
        nonlocal word
        if word:
            found.append(Atom(word))
            word = ""

    for character in unicodedata.normalize("NFC", visible(text)):
        kind = _kind(character)
        if kind == "ignored":
            continue
        if kind == "word":
            word += _folded(character)
        else:
            end_word()
        if kind == "unspaced":
            found.append(Atom(character, after))
        elif kind == "symbol":
            found.append(Atom(character))
        after = kind == "unspaced"
    end_word()
    return found


def visible(text: str) -> str:
    """The text without the escapes of terminals."""
    shown, rest = "", text
    while rest:
        if rest[0] != "\x1b":
            shown, rest = shown + rest[0], rest[1:]
        elif rest[1:2] == "[":
            end = 2
            while end < len(rest) and (rest[end].isdigit() or rest[end] in ":;<=>?"):
                end += 1
            if end < len(rest) and "@" <= rest[end] <= "~":
                shown += " " if rest[end] in "ABCDEFGHf" else ""
                end += 1
            rest = rest[end:]
        elif rest[1:2] == "]":
            stops = [
                (at, at + len(stop))
                for stop in ("\x07", "\x1b\\")
                if (at := rest.find(stop, 2)) >= 0
            ]
            stop = min(stops, default=None)
            closed = stop is not None and not set("\x1b\r\n") & set(rest[2 : stop[0]])
            rest = rest[stop[1] :] if stop is not None and closed else rest[2:]
        elif rest[1:2] == "(":
            rest = rest[3:]
        else:
            # A letter that ends an escape, which may move the cursor.
            shown += " " if "0" <= rest[1:2] <= "~" and rest[1:2] not in "\\=>NO[]PX^_" else ""
            rest = rest[2:] if "0" <= rest[1:2] <= "~" else rest[1:]
    return shown


def _kind(character: str) -> str:
    category = unicodedata.category(character)
    name = unicodedata.name(character, "")
    if name.startswith(("COMBINING", "VARIATION SELECTOR")):
        return "ignored"
    if category in ("Sm", "Sc", "So") or name.startswith("EMOJI"):
        return "symbol"
    if category[0] in "LNM":
        return "unspaced" if name.startswith(_WITHOUT_SPACES) else "word"
    return "boundary"


def _folded(character: str) -> str:
    base = unicodedata.normalize("NFD", character)[0]
    letter = base if base.isascii() else character
    small = letter.casefold()
    return small if len(small) == 1 else letter.lower()


class Oracle:
    """Finds the lines that a search should find."""

    def __init__(self, lines: list[str]) -> None:
        self._atoms = [atoms(line) for line in lines]
        self._with: defaultdict[str, set[int]] = defaultdict(set)
        for number, row in enumerate(self._atoms):
            for atom in row:
                self._with[atom.text].add(number)

    def found(self, text: str) -> list[int]:
        """The numbers of the lines that contain all terms of the text, in their order."""
        terms = list(_terms(text))
        if not terms:
            return [] if text.split() else list(range(len(self._atoms)))
        wanted = {atom.text for term in terms for atom in term}
        candidates = set.intersection(*(self._with.get(each, set()) for each in wanted))
        return sorted(
            number
            for number in candidates
            if all(_stands_in(term, self._atoms[number]) for term in terms)
        )


def _terms(text: str) -> Iterator[list[Atom]]:
    for term in visible(text).split():
        if row := atoms(term):
            yield row


def _stands_in(term: list[Atom], message: list[Atom]) -> bool:
    first, later = term[0].text, term[1:]
    return any(
        atom.text == first and message[at + 1 : at + len(term)] == later
        for at, atom in enumerate(message)
    )
