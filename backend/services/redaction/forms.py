"""The texts that stand for a secret's value: what is looked for."""

import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Final, NamedTuple

SHORTEST: Final = 12
"""Values, and lines of values, of fewer characters are not looked for: they stand in ordinary
text too often."""

ANCHOR: Final = SHORTEST
"""How many characters of a pattern the automaton knows. The others are compared where these were
found, so that the size of the automaton depends on the number of patterns, not on their length."""

_LONG: Final = 512
"""A value with more characters is kept once, and its encodings are made again when one may have
been found."""

_PATTERN_BYTES: Final = 800
"""About how much memory a pattern takes besides its text: mostly nodes of the automaton."""

_LINES = re.compile(r"\r\n|\r|\n")


class Pattern:
    """A text that stands for a secret's value, or for a part of it."""

    __slots__ = ("_form", "_value", "anchor", "bits_before", "bits_behind", "bytes", "key", "short")

    def __init__(self, key: str, value: str, form: "_Form") -> None:
        self.key = key
        self._value = value
        self._form = form
        text = form.of(value if len(value) <= _LONG else value[:_LONG])
        self.anchor = text[:ANCHOR]
        self.short = text if len(value) <= _LONG else None
        """The text; `None` if it is long, because the value is in memory only once then."""
        self.bits_before = form.before > 0
        """Whether the character before it has bits of the value too, if it is of base64."""
        self.bits_behind = form.has_bits_behind(value)
        """The same for the character behind it."""
        self.bytes = _PATTERN_BYTES + len(self.short or "")

    def long(self) -> str:
        """The text, made again."""
        return self._form.of(self._value)


class _Form(NamedTuple):
    """A way to write a value: as it is, with the line ends of a form, or in base64."""

    name: str
    before: int = 0
    """How many bytes of base64 before the value are not of whole characters with it."""

    def of(self, value: str) -> str:
        """The value in this form."""
        if self.name == "plain":
            return value
        if self.name == "lines":
            return "\r\n".join(_LINES.split(value))
        octets = value.encode()
        text = b64encode(bytes(self.before) + octets).decode().rstrip("=")
        # Characters that have bits of what stands beside the value are left out.
        text = text[self.before + 1 if self.before else 0 : len(text) - self.has_bits_behind(value)]
        return text.translate(_URL_SAFE) if self.name == "URL-safe" else text

    def has_bits_behind(self, value: str) -> bool:
        """Whether the last character has bits of what follows."""
        return self.name in _BASE64 and (self.before + len(value.encode())) % 3 != 0


_BASE64: Final = ("base64", "URL-safe")
_URL_SAFE: Final = str.maketrans("+/", "-_")
_PLAIN: Final = _Form("plain")
_FORMS: Final = (
    _PLAIN,
    _Form("lines"),
    *(_Form(name, before) for name in _BASE64 for before in range(3)),
)


def patterns_of(key: str, value: str) -> Iterator[Pattern]:
    """What is looked for of a secret as a whole, each text once."""
    if len(value) < SHORTEST:
        return
    seen: set[str] = set()
    for form in _FORMS:
        if form.name == "lines" and not _LINES.search(value):
            continue
        pattern = Pattern(key, value, form)
        if pattern.short is None:
            yield pattern
        elif pattern.short not in seen:
            seen.add(pattern.short)
            yield pattern


def lines_of(key: str, value: str) -> Iterator[Pattern]:
    """The lines of a secret that are looked for alone, each once."""
    for line in dict.fromkeys(_LINES.split(value)):
        # A line of spaces says nothing about a value.
        if len(line) >= SHORTEST and line.strip() and line != value:
            yield Pattern(key, line, _PLAIN)
