"""Finds the values of secrets in texts, as they are and encoded, and replaces them."""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from sys import getsizeof
from typing import Any, Final, NamedTuple

import ahocorasick

from backend.services.redaction.views import View, decoded_texts, view_of

SHORTEST: Final = 12
"""Values, and lines of values, of fewer characters are not looked for: they stand in ordinary
text too often."""

_ANCHOR: Final = SHORTEST
"""How many characters of a pattern the automaton knows. The others are compared where these were
found, so that the size of the automaton depends on the number of patterns, not on their length."""

_MOST_ROUNDS: Final = 16
"""How often a text is looked through. Only values that are made of parts of markers need more than
two rounds."""

_LINES = re.compile(r"\r\n|\r|\n")
_BASE64_CHARACTERS: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
)

_MARKERS = re.compile(r"\[secret:\w{1,100}\]", re.ASCII)
_PATTERN_BYTES: Final = 800
"""About how much memory a pattern takes besides its text: mostly nodes of the automaton."""

NO_HITS: Final[Mapping[str, int]] = {}


class _Pattern(NamedTuple):
    """A text that stands for a secret's value, or for a part of it."""

    text: str
    key: str
    bits_before: bool
    """The character before it has bits of the value too, if it is of base64."""
    bits_behind: bool
    """The character behind it."""

    def __repr__(self) -> str:
        return f"_Pattern(key={self.key!r})"


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
        """`values` are the secrets' values, by key."""
        anchors: dict[str, list[_Pattern]] = {}
        size = 0
        for key in sorted(values):
            for pattern in _patterns(key, values[key]):
                anchors.setdefault(pattern.text[:_ANCHOR], []).append(pattern)
                size += getsizeof(pattern.text) + _PATTERN_BYTES
        self.bytes = size
        """About how much memory it takes."""
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
            hits = [
                hit
                for hit in hits
                if not any(start <= hit.start and hit.end <= end for start, end in markers)
            ]
        return _joined(hits) if hits else []

    def _hits(self, view: View) -> Iterator[_Hit]:
        text = view.text
        for last, patterns in self._automaton.iter(text):
            first = last - _ANCHOR + 1
            for pattern in patterns:
                if not text.startswith(pattern.text, first):
                    continue
                start, end = first, first + len(pattern.text)
                if pattern.bits_before and text[start - 1 : start] in _BASE64_CHARACTERS:
                    start -= 1
                if pattern.bits_behind and text[end : end + 1] in _BASE64_CHARACTERS:
                    end += 1
                yield _Hit(*view.stored(start, end), pattern.key)


def _is_encoded(text: str) -> bool:
    """Whether a reader may decode the text to another one."""
    return "\n" in text or "\\" in text or "%" in text or "+" in text


def marker(key: str) -> str:
    """What stands in place of a value of this secret."""
    return f"[secret:{key}]"


def _patterns(key: str, value: str) -> Iterator[_Pattern]:
    """What is looked for of a secret, each text once."""
    if len(value) < SHORTEST:
        return
    texts = dict.fromkeys([value])
    lines = _LINES.split(value)
    if len(lines) > 1:
        # A form sends its lines in this way.
        texts["\r\n".join(lines)] = None
    # A line of spaces says nothing about a value.
    texts.update(dict.fromkeys(line for line in lines if len(line) >= SHORTEST and line.strip()))
    for text in texts:
        yield _Pattern(text, key, bits_before=False, bits_behind=False)
    octets = value.encode()
    for before in range(3):
        encoded = b64encode(bytes(before) + octets).decode().rstrip("=")
        # Characters that have bits of what stands beside the value are left out.
        behind = (before + len(octets)) % 3 != 0
        text = encoded[before + 1 if before else 0 : len(encoded) - behind]
        for alphabet in dict.fromkeys([text, text.replace("+", "-").replace("/", "_")]):
            yield _Pattern(alphabet, key, bits_before=before > 0, bits_behind=behind)


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
