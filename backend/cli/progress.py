"""Shows the progress of a command on standard error, if that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Shown = Literal["count", "share", "tally"]
"""`count`: how many of all; `share`: how much of all, in per cent; `tally`: how many of an
unknown number."""


class ProgressBar:
    """The progress of one command."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def advance(self, amount: int = 1) -> None:
        """Add to the completed amount."""
        self._progress.advance(self._task, amount)

    def show(self, completed: int, total: int) -> None:
        """Set the completed amount and the total."""
        self._progress.update(self._task, total=total, completed=completed)


@contextmanager
def progress_bar(
    doing: str, *, shown: Shown = "count", total: int | None = None
) -> Iterator[ProgressBar]:
    """A progress bar during the block, next to the word `doing`. `total` is `None` while it is
    unknown."""
    progress = Progress(*_columns(doing, shown), console=Console(stderr=True), transient=True)
    progress.disable = not sys.stderr.isatty()
    with progress:
        yield ProgressBar(progress, total)


@contextmanager
def share_bar(doing: str) -> Iterator[Callable[[float], None]]:
    """A progress bar during the block, with an estimate of the time left. Yields what to call with
    the share that is done, from 0 to 1."""
    with progress_bar(doing, shown="share", total=_WHOLE) as bar:
        yield lambda share: bar.show(round(share * _WHOLE), _WHOLE)


_WHOLE = 10_000


def _columns(doing: str, shown: Shown) -> tuple[ProgressColumn, ...]:
    if shown == "tally":
        return SpinnerColumn(), TextColumn(doing), MofNCompleteColumn()
    amount = TaskProgressColumn() if shown == "share" else MofNCompleteColumn()
    return TextColumn(doing), BarColumn(), amount, TimeRemainingColumn()
