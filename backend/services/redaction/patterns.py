"""Finds the values of secrets in texts, as they are and encoded, and replaces them."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from sys import getsizeof
from typing import Any, Final, NamedTuple

import ahocorasick

from backend.services.redaction.beginnings import Alike, Beginnings, Checks
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
    keys: frozenset[str]


class _Stretch(NamedTuple):
    """A part of a text that has values of secrets which overlap."""

    start: int
    end: int
    key: str
    """The secret of the leftmost value, and of the longest of those."""
    keys: frozenset[str]
    """All secrets with a value in it."""


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
                self._automaton.add_word(anchor, Beginnings(patterns))
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
        open_hits: dict[Alike, tuple[int, int, int]] = {}
        checks = Checks()
        for last, beginnings in self._automaton.iter(text):
            first = last - ANCHOR + 1
            for alike in beginnings.at(text, first, checks):
                start, end = _with_bits(alike, text, first)
                open_hit = open_hits.get(alike)
                if open_hit is None:
                    open_hits[alike] = start, end, first
                elif start < open_hit[1]:
                    open_hits[alike] = open_hit[0], end, open_hit[2]
                else:
                    yield from _hits_of(alike, *open_hit, view)
                    open_hits[alike] = start, end, first
            if checks.left < 0:
                break
        for alike, open_hit in open_hits.items():
            yield from _hits_of(alike, *open_hit, view)


def _with_bits(alike: Alike, text: str, first: int) -> tuple[int, int]:
    """From where to where the text has characters of the value that begins at `first`."""
    start, end = first, first + alike.length
    if alike.bits_before and text[start - 1 : start] in _BASE64_CHARACTERS:
        start -= 1
    if alike.bits_behind and text[end : end + 1] in _BASE64_CHARACTERS:
        end += 1
    return start, end


def _hits_of(alike: Alike, start: int, end: int, first: int, view: View) -> Iterator[_Hit]:
    """The hit from `start` to `end`, whose first place begins at `first`, and those of the shorter
    patterns which begin there."""
    yield _Hit(*view.stored(start, end), alike.key, alike.keys)
    shorter = alike.shorter
    while shorter is not None:
        place = _with_bits(shorter, view.text, first)
        yield _Hit(*view.stored(*place), shorter.key, shorter.keys)
        shorter = shorter.shorter


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
    start, end, key, keys = hits[0]
    for hit in hits:
        if hit.start >= end:
            stretches.append(_Stretch(start, end, key, keys))
            start, end, key, keys = hit
        elif not hit.keys <= keys:
            keys |= hit.keys
        end = max(end, hit.end)
    stretches.append(_Stretch(start, end, key, keys))
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
    # Many secrets may have one value, which stands in the text many times.
    counted: Counter[str] = Counter()
    for keys, count in Counter(stretch.keys for stretch in stretches).items():
        counted.update(dict.fromkeys(keys, count))
    return counted
