"""Runs `strongroom` with a clock that is as many seconds off as a file says, at any time.

    python -P clocked.py FILE STRONGROOM ARGUMENT…

The service has one clock, which it is given when it starts.
"""

import sys
from datetime import datetime, timedelta
from pathlib import Path

from backend.cli import main
from backend.runtime import Runtime
from database.base import utc_now


def shift(file: Path) -> None:
    """Make every service of this process start with the shifted clock."""

    def clock() -> datetime:
        return utc_now() + timedelta(seconds=float(file.read_text()))

    defaults = Runtime.start.__func__.__kwdefaults__  # type: ignore[attr-defined]
    assert defaults["clock"] is utc_now
    defaults["clock"] = clock


if __name__ == "__main__":
    shift(Path(sys.argv[1]))
    sys.exit(main(sys.argv[3:]))
