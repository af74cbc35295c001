"""Counts the values that are found in what each token stores."""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Final

MOST_HITS: Final = 100
"""How many values found in what a token stores within a minute are replaced one by one. After
these, a text with a value is replaced as a whole, so that it does not show which part it was."""

_MINUTE: Final = len("2026-01-01T00:00")


def minute_of(at: str) -> str:
    """The minute of a stored time."""
    return at[:_MINUTE]


class Hits:
    """The hits of the present minute, by token. What was rolled back does not count, so that a
    unit that runs again stores the same."""

    def __init__(self, transaction: Callable[[], int]) -> None:
        """`transaction` returns the number of the writer's transaction."""
        self._transaction = transaction
        self._minute = ""
        self._committed: Counter[Hashable] = Counter()
        self._open: Counter[Hashable] = Counter()
        self._opened_in = 0

    def count(self, token: Hashable, at: str, hits: int) -> bool:
        """Count hits at this time. Returns whether the token has had too many."""
        if self._minute != minute_of(at):
            self._minute = minute_of(at)
            self._committed.clear()
            self._open.clear()
        if self._opened_in != self._transaction():
            # The transaction before was rolled back, if it has left anything.
            self._opened_in = self._transaction()
            self._open.clear()
        self._open[token] += hits
        return self._committed[token] + self._open[token] > MOST_HITS

    def commit(self) -> None:
        """The transaction was committed, or has ended without success."""
        if self._open:
            self._committed.update(self._open)
            self._open.clear()
