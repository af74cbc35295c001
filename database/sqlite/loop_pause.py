"""The event loop's pause while a database thread needs the interpreter."""

import threading


class LoopPause:
    """The event loop stands still until the thread has run its statements.

    SQLite's driver gives the interpreter's lock up and takes it back several times a statement.
    Against an event loop that is busy each of these is a wait for the other thread to wake up, so
    that a unit of work takes seven times as long, and the event loop pays for it as well: together
    they get less done than one after the other.
    """

    __slots__ = ("_returned",)

    def __init__(self) -> None:
        self._returned = threading.Lock()
        self._returned.acquire()

    def wait(self, seconds: float) -> None:
        """On the event loop: wait until the pause ends, at most `seconds`."""
        self._returned.acquire(timeout=seconds)

    def end(self) -> None:
        """On the database thread: let the event loop go on. Once is enough."""
        if self._returned.locked():
            self._returned.release()
