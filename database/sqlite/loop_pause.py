"""The event loop's pause while a database thread needs the interpreter."""

import threading


class LoopPause:
    """Stops the event loop until the database thread has run its statements.

    SQLite's driver releases and takes the interpreter lock several times in each statement. With a
    busy event loop, each time means waiting for the other thread to wake up. A unit of work then
    takes seven times as long, and the event loop is slower too: together, both threads do less work
    than one after the other.
    """

    __slots__ = ("_returned",)

    def __init__(self) -> None:
        self._returned = threading.Lock()
        self._returned.acquire()

    def wait(self, seconds: float) -> None:
        """On the event loop: wait until the pause ends, at most `seconds`."""
        self._returned.acquire(timeout=seconds)

    def end(self) -> None:
        """On the database thread: let the event loop continue. Further calls do nothing."""
        if self._returned.locked():
            self._returned.release()
