"""The patterns that begin with the same twelve characters, and which of them stand at a place.

Many values may begin alike, such as URLs of databases and keys in PEM, and a token that may write
secrets may make a hundred thousand of them. So it must not take longer the more there are.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from backend.services.redaction.forms import HEAD, Pattern

_MOST_CHECKS: Final = 5_000
"""How many long patterns are compared for one text. Beyond this, the rest of the text counts as the
value of one of them: it has the first characters of very many."""
_CHECKS_FOR_ONE: Final = 10
"""What making the text of a long pattern again counts."""


class Alike:
    """Patterns with the same text."""

    __slots__ = (
        *("_depth", "_jump", "bits_before", "bits_behind", "key", "keys"),
        *("length", "shorter", "text"),
    )

    def __init__(self, text: str, patterns: Sequence[Pattern], shorter: "Alike | None") -> None:
        first = min(patterns, key=lambda one: (not one.bits_before, not one.bits_behind, one.key))
        self.text = text
        """The text; the beginning of a long one."""
        self.length = first.length
        self.key = first.key
        self.keys = frozenset(pattern.key for pattern in patterns)
        """The secrets with this text, and the one that a marker names."""
        self.bits_before = first.bits_before
        self.bits_behind = any(pattern.bits_behind for pattern in patterns)
        """See `Pattern`."""
        self.shorter = shorter
        """The patterns with the longest text that this one begins with."""
        # Shorter ones are found in as many steps as their number has digits in base two.
        self._depth: int = shorter._depth + 1 if shorter is not None else 0
        self._jump: Alike | None = shorter
        if shorter is not None and (near := shorter._jump) is not None:
            far = near._jump
            if far is not None and shorter._depth - near._depth == near._depth - far._depth:
                self._jump = far

    def of_length(self, most: int) -> "Alike | None":
        """The longest of this and its shorter ones that has at most so many characters."""
        found: Alike | None = self
        while found is not None and found.length > most:
            jump = found._jump
            found = jump if jump is not None and jump.length > most else found.shorter
        return found


class Checks:
    """What was found out about long patterns in one text."""

    __slots__ = ("left", "next_places")

    def __init__(self) -> None:
        self.left = _MOST_CHECKS
        self.next_places: dict[Pattern, tuple[int, int]] = {}
        """Where they begin and end next."""


class Beginnings:
    """Patterns with one anchor. They are put in order when the anchor is found for the first time:
    few ever are."""

    __slots__ = ("_order", "_patterns")

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        self._order: _Order | None = None

    def at(self, text: str, first: int, checks: Checks) -> list[Alike]:
        """The patterns that begin at this place of the text: the longest of those that are not
        long, and all long ones."""
        order = self._order
        if order is None:
            # Several threads may make the same.
            order = self._order = _Order(self._patterns)
        found = []
        alike = order.longest_at(text, first)
        if alike is not None:
            found.append(alike)
        if order.long:
            for pattern, alone in order.long.get(text[first : first + HEAD], ()):
                checks.left -= 1
                if checks.left < 0:
                    found.append(_Rest(alone, len(text) - first))
                    break
                if pattern.may_begin(text, first) and _begins(pattern, text, first, checks):
                    found.append(alone)
        return found


class _Order:
    """The same patterns by their texts."""

    __slots__ = ("_alike", "_longest", "_texts", "long")

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        by_text: dict[str, list[Pattern]] = {}
        self.long: dict[str, list[tuple[Pattern, Alike]]] = {}
        """The long ones, by their heads."""
        for pattern in patterns:
            if pattern.short is None:
                alone = Alike(pattern.head, [pattern], None)
                self.long.setdefault(pattern.head, []).append((pattern, alone))
            else:
                by_text.setdefault(pattern.short, []).append(pattern)
        self._texts = sorted(by_text)
        self._longest = max(map(len, self._texts), default=0)
        self._alike: list[Alike] = []
        above: list[Alike] = []
        for text in self._texts:
            while above and not text.startswith(above[-1].text):
                above.pop()
            alike = Alike(text, by_text[text], above[-1] if above else None)
            above.append(alike)
            self._alike.append(alike)

    def longest_at(self, text: str, first: int) -> Alike | None:
        """The longest that is not long and begins at this place of the text."""
        if len(self._texts) <= 1:
            for alike in self._alike:
                if text.startswith(alike.text, first):
                    return alike
            return None
        # What the text begins with here is the last text before it in order, or begins that one.
        index = bisect_right(self._texts, text[first : first + self._longest]) - 1
        if index < 0:
            return None
        alike = self._alike[index]
        if text.startswith(alike.text, first):
            return alike
        return alike.of_length(_same_characters(alike.text, text, first))


class _Rest(Alike):
    """A long pattern that is taken to go on to the end of the text."""

    __slots__ = ()

    def __init__(self, alike: Alike, length: int) -> None:
        self.text, self.key, self.keys = alike.text, alike.key, alike.keys
        self.bits_before, self.bits_behind = alike.bits_before, alike.bits_behind
        self.length = length
        self.shorter = self._jump = None
        self._depth = 0


def _same_characters(one: str, text: str, first: int) -> int:
    """With how many of its characters `one` begins at this place of the text."""
    same, different = 0, len(one)
    while same + 1 < different:
        middle = (same + different) // 2
        if text.startswith(one[same:middle], first + same):
            same = middle
        else:
            different = middle
    return same


def _begins(pattern: Pattern, text: str, first: int, checks: Checks) -> bool:
    """Whether the long pattern begins at `first`, and does not overlap an earlier place."""
    known = checks.next_places.get(pattern)
    if known is None or known[0] < first:
        if known is not None and first < known[1]:
            return False
        # Not by comparing at each place, which could take as long as the text times the value.
        checks.left -= _CHECKS_FOR_ONE
        long = pattern.long()
        place = text.find(long, first)
        known = (place, place + len(long)) if place >= 0 else (len(text), len(text))
        checks.next_places[pattern] = known
    return known[0] == first
