"""Runs `strongroom` with a shifted clock. A file contains the number of seconds, and may change at
any time.

The service has one clock, which it is given when it starts.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from backend.runtime import Runtime
from database.base import utc_now
from tests.support.forked import run_strongroom


def shift(file: Path) -> None:
    """Make every service of this process use the shifted clock."""

    def clock() -> datetime:
        return utc_now() + timedelta(seconds=float(file.read_text()))

    defaults = Runtime.start.__func__.__kwdefaults__  # type: ignore[attr-defined]
    assert defaults["clock"] is utc_now
    defaults["clock"] = clock


def run(file: Path, arguments: Sequence[str]) -> int:
    """Run the command with that clock. Returns the exit status."""
    shift(file)
    return run_strongroom(arguments)
