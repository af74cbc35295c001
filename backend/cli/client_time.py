"""The time that a client has for what the server waits for."""

import sys
from asyncio import BaseTransport
from enum import StrEnum
from fcntl import ioctl
from termios import TIOCOUTQ

_PATIENCE = 0.75
"""The share of its time after which a client is overdue. A wait begins up to one check before it
is seen, and ends up to one check late: the rest covers both, and a late timer."""


class Wait(StrEnum):
    """What the server waits for: a head, a body, or the reading of an answer. `IDLE` is a wait for
    the next request when connections are crowded."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    IDLE = "idle"


class ClientTime:
    """The time that one client has left."""

    def __init__(self, seconds: float, bytes_per_second: int) -> None:
        """A client that does nothing has `seconds`; one that keeps the rate has no limit."""
        self._patience = seconds * _PATIENCE
        self._bytes_per_second = bytes_per_second
        self._wait: tuple[Wait, object] | None = None
        self._done = 0
        self._credit = 0.0

    def overdue(self, wait: tuple[Wait, object] | None, done: int, elapsed: float) -> Wait | None:
        """The wait for which the client is too late; `None` while it has time left.

        Must be called regularly: with the current wait and a mark that changes with each new wait,
        with a number of bytes that grows with the client's progress, and with the seconds since the
        previous call.
        """
        before, done_before = self._wait, self._done
        self._wait, self._done = wait, done
        if wait is None:
            return None
        if wait != before:
            self._credit = self._patience
            return None
        earned = max(0, done - done_before) / self._bytes_per_second
        self._credit = min(self._patience, self._credit + earned) - elapsed
        return wait[0] if self._credit <= 0 else None


def unacknowledged_bytes(transport: BaseTransport) -> int:
    """The bytes in the system's buffer that the client has not acknowledged.

    The system accepts new bytes by the megabyte. Without this count, a slow client would seem to
    read nothing in between.
    """
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        return int.from_bytes(ioctl(descriptor, TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0
