"""Finds the values of secrets in texts, as they are and encoded, and replaces them."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from sys import getsizeof
from typing import Any, Final, NamedTuple

import ahocorasick

from backend.services.redaction.forms import ANCHOR, SHORTEST, Pattern, lines_of, patterns_of
from backend.services.redaction.views import View, decoded_texts, view_of

__all__ = ["SHORTEST", "SecretPatterns", "marker"]

MOST_PATTERNS: Final = 100_000
"""How many texts are looked for. Lines come last."""
_MOST_ROUNDS: Final = 16
"""How often a text is looked through. Only values that are made of parts of markers need more than
two rounds."""

_BASE64_CHARACTERS: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
)

_MARKERS = re.compile(r"\[secret:\w{1,100}\]", re.ASCII)
_FAR: Final = 2**62

NO_HITS: Final[Mapping[str, int]] = {}


class _Hit(NamedTuple):
    start: int
    end: int
    key: str


class _Stretch(NamedTuple):
    """A part of a text that has values of secrets which overlap."""

    start: int
    end: int
    key: str
    """The secret of the leftmost value, and of the longest of those."""
    keys: frozenset[str]


class SecretPatterns:
    """The values of several secrets, prepared for looking through many texts.

    A value is found as it is, by each of its lines, and as base64 at any alignment, in either
    alphabet; also where such a text is encoded for JSON, a URL or a form, or is broken into lines.
    Values and lines of fewer than `SHORTEST` characters are not looked for.

    It does not change, so several threads may use it.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        """`values` are the secrets' values, by key, with those first that matter most if there are
        too many."""
        anchors: dict[str, list[Pattern]] = {}
        self.bytes = sum(map(getsizeof, values.values()))
        """About how much memory it takes."""
        for pattern in islice(_all_patterns(values), MOST_PATTERNS):
            anchors.setdefault(pattern.anchor, []).append(pattern)
            self.bytes += pattern.bytes
        self._automaton: Any = None
        if anchors:
            self._automaton = ahocorasick.Automaton()
            for anchor, patterns in anchors.items():
                self._automaton.add_word(anchor, patterns)
            self._automaton.make_automaton()

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return self._automaton is not None

    def redact(self, text: str) -> tuple[str, Mapping[str, int]]:
        """The text with `[secret:KEY]` in place of each value, and how often each secret was found.

        Values that overlap are replaced as a whole, by the marker of the leftmost and longest.
        """
        stretches = self._stretches(text)
        if not stretches:
            return text, NO_HITS
        counted = _counted(stretches)
        for _ in range(_MOST_ROUNDS):
            text, markers = _replaced(text, stretches)
            # A marker and what stands beside it may make a value, if somebody chose it so.
            stretches = self._stretches(text, markers)
            if not stretches:
                return text, counted
        return marker(stretches[0].key), counted

    def count(self, text: str) -> Counter[str]:
        """How often each secret's value stands in the text."""
        return _counted(self._stretches(text))

    def is_clean(self, text: str) -> bool:
        """Whether the text has no value and is not encoded. Most texts of logs are clean."""
        return not _is_encoded(text) and next(self._automaton.iter(text), None) is None

    def finds(self, text: str) -> Mapping[str, int]:
        """The same for a text with markers, without values that stand inside one of these."""
        markers = [found.span() for found in _MARKERS.finditer(text)]
        return _counted(self._stretches(text, markers))

    def _stretches(
        self, text: str, markers: "list[tuple[int, int]] | None" = None
    ) -> list[_Stretch]:
        """The parts of the text that have values, in order, without those inside `markers`."""
        if self._automaton is None or len(text) < SHORTEST:
            return []
        search = self._automaton.iter
        hits: list[_Hit] = []
        # Most texts have nothing, and no place in them is looked for.
        if next(search(text), None) is not None:
            hits += self._hits(View(text))
        if _is_encoded(text):
            for decoded, encodings in decoded_texts(text):
                if next(search(decoded), None) is not None:
                    hits += self._hits(view_of(text, encodings))
        if markers:
            hits = [hit for hit in hits if not _is_inside(hit, markers)]
        return _joined(hits) if hits else []

    def _hits(self, view: View) -> Iterator[_Hit]:
        """Where the patterns stand in the text as it is. Places of a pattern that overlap are one,
        and those of a long one end before the next."""
        text = view.text
        open_hits: dict[Pattern, tuple[int, int]] = {}
        next_places: dict[Pattern, tuple[int, int]] = {}
        for last, patterns in self._automaton.iter(text):
            first = last - ANCHOR + 1
            for pattern in patterns:
                end = _end(pattern, text, first, next_places)
                if end is None:
                    continue
                start = first
                if pattern.bits_before and text[start - 1 : start] in _BASE64_CHARACTERS:
                    start -= 1
                if pattern.bits_behind and text[end : end + 1] in _BASE64_CHARACTERS:
                    end += 1
                open_hit = open_hits.get(pattern)
                if open_hit is not None:
                    if start < open_hit[1]:
                        start = open_hit[0]
                    else:
                        yield _Hit(*view.stored(*open_hit), pattern.key)
                open_hits[pattern] = start, end
        for pattern, open_hit in open_hits.items():
            yield _Hit(*view.stored(*open_hit), pattern.key)


def _end(
    pattern: Pattern, text: str, first: int, next_places: dict[Pattern, tuple[int, int]]
) -> int | None:
    """Where the pattern ends that begins at `first`; `None` if it does not. `next_places` has where
    long patterns begin and end next."""
    if pattern.short is not None:
        return first + len(pattern.short) if text.startswith(pattern.short, first) else None
    known = next_places.get(pattern)
    if known is None or known[0] < first:
        if known is not None and first < known[1]:
            return None
        # Not by comparing at each place, which could take as long as the text times the value.
        long = pattern.long()
        place = text.find(long, first)
        known = (place, place + len(long)) if place >= 0 else (len(text), len(text))
        next_places[pattern] = known
    return known[1] if known[0] == first else None


def _all_patterns(values: Mapping[str, str]) -> Iterator[Pattern]:
    for find in (patterns_of, lines_of):
        for key, value in values.items():
            yield from find(key, value)


def _is_encoded(text: str) -> bool:
    """Whether a reader may decode the text to another one."""
    return "\n" in text or "\\" in text or "%" in text or "+" in text


def marker(key: str) -> str:
    """What stands in place of a value of this secret."""
    return f"[secret:{key}]"


def _is_inside(hit: _Hit, markers: Sequence[tuple[int, int]]) -> bool:
    """Whether a hit stands inside one of the markers, which are in order."""
    index = bisect_right(markers, (hit.start, _FAR)) - 1
    return index >= 0 and hit.end <= markers[index][1]


def _joined(hits: list[_Hit]) -> list[_Stretch]:
    """The stretches of hits that overlap."""
    hits.sort(key=lambda hit: (hit.start, -hit.end, hit.key))
    stretches: list[_Stretch] = []
    start, end, key = hits[0]
    keys: set[str] = set()
    for hit in hits:
        if hit.start >= end:
            stretches.append(_Stretch(start, end, key, frozenset(keys)))
            start, end, key = hit
            keys = set()
        keys.add(hit.key)
        end = max(end, hit.end)
    stretches.append(_Stretch(start, end, key, frozenset(keys)))
    return stretches


def _replaced(text: str, stretches: list[_Stretch]) -> tuple[str, list[tuple[int, int]]]:
    """The text with markers in place of the stretches, and where these markers stand."""
    parts: list[str] = []
    markers: list[tuple[int, int]] = []
    length = last = 0
    for stretch in stretches:
        put = marker(stretch.key)
        parts += text[last : stretch.start], put
        length += stretch.start - last
        markers.append((length, length + len(put)))
        length += len(put)
        last = stretch.end
    return "".join([*parts, text[last:]]), markers


def _counted(stretches: list[_Stretch]) -> Counter[str]:
    return Counter(key for stretch in stretches for key in stretch.keys)
