"""A clock that tests may set."""

from datetime import datetime, timedelta

from backend.errors import InvalidField
from backend.schemas.testing import ClockState
from database.base import time_text, utc_now

EARLIEST_YEAR, LATEST_YEAR = 1971, 9000
"""The years that the clock may be set to. Times that are reckoned from them fit too."""


class MovableClock:
    """The service's clock: the present time, moved. It goes on at its usual pace."""

    def __init__(self) -> None:
        self._moved = timedelta()

    def __call__(self) -> datetime:
        """The time that the service takes for the present, in UTC. Any thread may ask."""
        return utc_now() + self._moved

    @property
    def state(self) -> ClockState:
        """The time, and how far it is from the real one."""
        return ClockState(now=time_text(self()), moved_seconds=self._moved.total_seconds())

    def move(self, seconds: float) -> None:
        """Move on, or back if `seconds` are negative. Raises `InvalidField`."""
        try:
            moved = self._moved + timedelta(seconds=seconds)
        except OverflowError:
            raise _out_of_range("move_seconds") from None
        self._set(moved, "move_seconds")

    def set(self, at: datetime) -> None:
        """Take `at` for the present. Raises `InvalidField`."""
        self._set(at - utc_now(), "at")

    def reset(self) -> None:
        """Take the real time again."""
        self._moved = timedelta()

    def _set(self, moved: timedelta, field: str) -> None:
        try:
            year = (utc_now() + moved).year
        except OverflowError:
            raise _out_of_range(field) from None
        if not EARLIEST_YEAR <= year <= LATEST_YEAR:
            raise _out_of_range(field)
        self._moved = moved


def _out_of_range(field: str) -> InvalidField:
    return InvalidField(
        (field,),
        "out_of_range",
        f"the clock may be set to a time in the years {EARLIEST_YEAR} to {LATEST_YEAR}",
    )
