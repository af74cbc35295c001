"""How far a piece of work with several steps is, and how long it will take."""

import time
from collections.abc import Callable, Mapping
from typing import Final

BACKUP_STEPS: Final = {
    "copying": 0.15,
    "checking the file": 0.6,
    "checking the audit": 0.2,
    "reading it once more": 0.05,
}
"""The steps of a backup, with the share of its time that each takes, about."""
_KNOWN: Final = 0.02
"""Before this share of the work is done, an estimate would be a guess."""


class WorkProgress:
    """The progress of one piece of work. One thread tells it, and any thread reads it."""

    def __init__(
        self,
        steps: Mapping[str, float],
        *,
        on_share: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`steps` are in the order in which they follow, and their shares add up to 1. `on_share`
        is called with the share of the whole work whenever it has grown."""
        self._before: dict[str, float] = {}
        total = 0.0
        for step, share in steps.items():
            self._before[step] = total
            total += share
        self._steps = steps
        self._on_share = on_share
        self._clock = clock
        self._began = clock()
        self.share = 0.0
        """The share that is done, from 0 to 1; it never falls."""

    def tell(self, step: str, share: float) -> None:
        """Note that this share of a step is done, from 0 to 1, and all steps before it."""
        done = self._before[step] + self._steps[step] * min(1.0, max(0.0, share))
        if done > self.share:
            self.share = done
            self._on_share(done)

    def of(self, step: str) -> Callable[[float], None]:
        """`tell` for one step."""
        return lambda share: self.tell(step, share)

    def seconds_left(self) -> float | None:
        """An estimate of the time until the end; `None` while too little is done."""
        if self.share < _KNOWN:
            return None
        return (self._clock() - self._began) * (1 - self.share) / self.share
