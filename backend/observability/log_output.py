"""Writes lines to a file, a pipe or a terminal that may accept them slowly or never.

A write to a pipe without a reader blocks. So a separate thread writes, and callers only add lines
to a bounded buffer. Lines that do not fit are dropped, counted and logged.
"""

import io
import os
import select
import threading
import time
from collections.abc import Iterable, Iterator

from backend.observability.log import get_logger

LIMIT_BYTES = 4 * 1024 * 1024
"""The bytes that may wait in the buffer; as many again may be in the current write."""
GATHERING_SECONDS = 0.01
"""How long a line waits for further lines: one write for each line would cost more."""
STUCK_SECONDS = 1.0
"""`drain` gives up when the reader has accepted nothing for this long."""
DRAIN_SECONDS = 3.0
"""`drain` gives up after this time in any case."""

# A write of at most this size is never mixed with writes of other processes on the same pipe.
_TOGETHER = select.PIPE_BUF

logger = get_logger("strongroom.log")


class LogOutput:
    """Writes lines to a file descriptor on its own thread, in their order. Used by any thread.

    Dropped lines are logged. `has_log` says that this output is the log itself, so that the message
    must wait until lines are accepted again.
    """

    def __init__(
        self, descriptor: int, name: str, *, has_log: bool, limit: int = LIMIT_BYTES
    ) -> None:
        self._descriptor = descriptor
        self._name = name
        self._has_log = has_log
        self._limit = limit
        # Reentrant, because a signal handler or the garbage collector may log a line.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
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
        """The number of lines not written because the buffer was full or the write failed."""
        # A daemon, so that the process can end while this thread waits for a reader.
        self._thread = threading.Thread(target=self._run, name="strongroom-log", daemon=True)

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()
        _running.append(self)

    def offer(self, lines: list[bytes]) -> None:
        """Add the lines to the buffer; drop those that don't fit.

        After `close` lines are written at once, or dropped if earlier ones were left unwritten.
        """
        # The lock itself, which is quicker than the condition: every request takes it.
        with self._lock:
            if self._closed and self._ended:
                for line in lines:
                    self._write(line)
                return
            for line in lines:
                if self._size + len(line) > self._limit or self._closed:
                    self._count_dropped(1)
                    continue
                self._lines.append(line)
                self._size += len(line)
            if self._sleeping and self._lines:
                self._sleeping = False
                self._changed.notify_all()

    def drain(self) -> bool:
        """Wait until all lines are written, or give up if the reader accepts none. Returns whether
        all were written."""
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
        """Drain, and buffer no more lines. Returns whether all lines were written."""
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
        """Wait for lines and return them. An empty list means that the output is closed."""
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
        """Write the chunk. Returns whether all of it was accepted."""
        rest = memoryview(chunk)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:
                # Another process has made the pipe non-blocking.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
                continue
            except OSError:
                # The reader is gone, or the disk is full. Later writes may succeed.
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
    """The number of lines that the open outputs of this process have dropped."""
    return sum(output.dropped for output in _running)


def drain_outputs() -> None:
    """Drain all open outputs. To be called before the process ends with `os._exit`."""
    for output in tuple(_running):
        output.drain()


class LineStream(io.TextIOBase):
    """A text stream that passes complete lines to an output."""

    def __init__(self, output: LogOutput, descriptor: int, encoding: str) -> None:
        super().__init__()
        self._output = output
        self._descriptor = descriptor
        self._encoding = encoding
        self._partial = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the lines."""
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Characters that the encoding does not have are escaped."""
        return "backslashreplace"

    def write(self, text: str, /) -> int:
        """Pass on complete lines, and keep the rest. Never waits, and never fails."""
        whole = self._partial + text if self._partial else text
        if whole.endswith("\n"):
            self._partial = ""
        else:
            whole, end, self._partial = whole.rpartition("\n")
            whole += end
        if whole:
            self._output.offer([whole.encode(self._encoding, "backslashreplace")])
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:  # type: ignore[override]
        """Pass on lines, each with its end. Never waits, and never fails."""
        if self._partial:
            super().writelines(lines)
            return
        encoding = self._encoding
        self._output.offer([line.encode(encoding, "backslashreplace") for line in lines])

    def writable(self) -> bool:
        """Returns True."""
        return True

    def fileno(self) -> int:
        """The descriptor that the lines are written to."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)


def _chunks(lines: list[bytes]) -> Iterator[bytes]:
    """The lines, joined into chunks that one write takes as a whole."""
    together: list[bytes] = []
    size = 0
    for line in lines:
        if together and size + len(line) > _TOGETHER:
            yield b"".join(together)
            together, size = [], 0
        together.append(line)
        size += len(line)
    yield b"".join(together)
