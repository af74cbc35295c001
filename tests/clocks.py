"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta


class SetClock:
    """Gives the time it was set to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 31, 12, 0, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float = 1) -> str:
        """Go on by so many seconds; the time as it is stored then."""
        self.time += timedelta(seconds=seconds)
        return self.text

    @property
    def text(self) -> str:
        """The time as it is stored."""
        return self.time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
