"""Lines to a file, a pipe or a terminal that may be slow to take them, or never take them.

A write to a pipe that nobody reads does not return. So a thread of its own writes, and whoever has
a line puts it into a buffer, which is bounded: what no longer fits is dropped, counted and told.
"""

import io
import os
import select
import threading
import time
from collections.abc import Iterator

from backend.observability.log import get_logger

LIMIT_BYTES = 4 * 1024 * 1024
"""What may wait to be written; as much again may be on its way."""
GATHERING_SECONDS = 0.01
"""How long a line waits for others that go with it: a write for each would cost more than it."""
STUCK_SECONDS = 1.0
"""A wait for the end of all lines gives up when nothing was taken for so long."""
DRAIN_SECONDS = 3.0
"""It gives up after this time in any case."""

# Lines in one such write are not torn apart by those of other processes on the same pipe.
_TOGETHER = select.PIPE_BUF

logger = get_logger("strongroom.log")


class LogOutput:
    """Writes lines to a file descriptor on its own thread, in their order. Used by any thread.

    That lines were dropped is logged; `has_log` says that the log is written here, so that it can
    be told only once lines are taken again.
    """

    def __init__(
        self, descriptor: int, name: str, *, has_log: bool, limit: int = LIMIT_BYTES
    ) -> None:
        self._descriptor = descriptor
        self._name = name
        self._has_log = has_log
        self._limit = limit
        # Reentrant, for a line that a signal's handler or the garbage collector has to log.
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._size = 0
        self._sleeping = False
        self._hurried = False
        self._closed = False
        self._ended = False
        self._writing = False
        self._taken = 0
        self._untold = 0
        self.dropped = 0
        """Lines that were not written, since the buffer was full or the write failed."""
        # The process ends also while this thread waits for a reader.
        self._thread = threading.Thread(target=self._run, name="strongroom-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()
        _running.append(self)

    def offer(self, line: bytes) -> None:
        """Have the line written when its turn comes; it is dropped when too much waits.

        After `close` it is written at once, or dropped if others were left unwritten.
        """
        with self._changed:
            if self._closed and self._ended:
                self._write(line)
                return
            if self._size + len(line) > self._limit or self._closed:
                self._count_dropped(1)
                return
            self._lines.append(line)
            self._size += len(line)
            if self._sleeping:
                self._sleeping = False
                self._changed.notify_all()

    def drain(self) -> bool:
        """Wait until all is written, but not for somebody who takes nothing; whether it is."""
        ends = time.monotonic() + DRAIN_SECONDS
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            taken, stuck = self._taken, time.monotonic() + STUCK_SECONDS
            while self._lines or self._writing:
                now = time.monotonic()
                if self._taken != taken:
                    taken, stuck = self._taken, now + STUCK_SECONDS
                if now >= min(ends, stuck):
                    break
                self._changed.wait(min(ends, stuck) - now)
            self._hurried = False
            return not (self._lines or self._writing)

    def close(self) -> bool:
        """Drain, and take no more lines; whether all were written."""
        all_written = self.drain()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if all_written:
            self._thread.join()
            self._ended = True
        _running.remove(self)
        return all_written

    def _run(self) -> None:
        while lines := self._gather():
            taken = [self._write(chunk) for chunk in _chunks(lines)]
            if taken[-1] or not self._has_log:
                self._tell_of_dropped()

    def _gather(self) -> list[bytes]:
        """The lines there are, once there are some; none at the end."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            while not self._lines and not self._closed:
                self._sleeping = True
                self._changed.wait()
            if self._lines and not (self._hurried or self._closed):
                self._changed.wait(GATHERING_SECONDS)
            lines, self._lines, self._size = self._lines, [], 0
            self._writing = bool(lines)
            return lines

    def _write(self, chunk: bytes) -> bool:
        """Whether all of it was taken."""
        rest = memoryview(chunk)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:
                # Somebody made the pipe one that refuses in the place of waiting.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
                continue
            except OSError:
                # Whoever read it is gone, or the disk is full; later lines may fare better.
                with self._changed:
                    self._count_dropped(bytes(rest).count(b"\n"))
                return False
            rest = rest[written:]
            with self._changed:
                self._taken += written
                self._changed.notify_all()
        return True

    def _count_dropped(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines

    def _tell_of_dropped(self) -> None:
        with self._changed:
            untold, self._untold = self._untold, 0
        if untold:
            logger.warning("lines were not written", output=self._name, lines=untold)


_running: list[LogOutput] = []


def dropped_lines() -> int:
    """How many lines of this process were dropped by outputs that are open."""
    return sum(output.dropped for output in _running)


def drain_outputs() -> None:
    """Wait for what is logged to be written, as `LogOutput.drain` does: before an end at once."""
    for output in tuple(_running):
        output.drain()


class LineStream(io.TextIOBase):
    """A text stream whose lines go to an output, a whole line each time."""

    def __init__(self, output: LogOutput, descriptor: int, encoding: str) -> None:
        super().__init__()
        self._output = output
        self._descriptor = descriptor
        self._encoding = encoding
        self._partial = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What lines are encoded with."""
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        """A character that the encoding does not have is escaped."""
        return "backslashreplace"

    def write(self, text: str, /) -> int:
        """Never waits, and never fails."""
        whole = self._partial + text if self._partial else text
        if whole.endswith("\n"):
            self._partial = ""
        else:
            whole, end, self._partial = whole.rpartition("\n")
            whole += end
        if whole:
            self._output.offer(whole.encode(self._encoding, "backslashreplace"))
        return len(text)

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor that the lines are for."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether that is a terminal."""
        return os.isatty(self._descriptor)


def _chunks(lines: list[bytes]) -> Iterator[bytes]:
    """The lines, as many of them together as one write takes whole."""
    together: list[bytes] = []
    size = 0
    for line in lines:
        if together and size + len(line) > _TOGETHER:
            yield b"".join(together)
            together, size = [], 0
        together.append(line)
        size += len(line)
    yield b"".join(together)
