"""Runs `strongroom` with a clock that is as many seconds off as a file says, at any time.

The service has one clock, which it is given when it starts.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from backend.runtime import Runtime
from database.base import utc_now
from tests.support.forked import run_strongroom


def shift(file: Path) -> None:
    """Make every service of this process start with the shifted clock."""

    def clock() -> datetime:
        return utc_now() + timedelta(seconds=float(file.read_text()))

    defaults = Runtime.start.__func__.__kwdefaults__  # type: ignore[attr-defined]
    assert defaults["clock"] is utc_now
    defaults["clock"] = clock


def run(file: Path, arguments: Sequence[str]) -> int:
    """What the command does with that clock; the exit status."""
    shift(file)
    return run_strongroom(arguments)
