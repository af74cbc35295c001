"""One process owns the database file: a lock on a file beside it."""

import contextlib
import fcntl
import os
import time
import weakref
from pathlib import Path

from database.errors import DatabaseUnavailable, ProcessLockHeld
from database.sqlite.lock_holders import owners

# Whoever only asks who holds the lock has it for a moment.
ATTEMPTS = 10
PAUSE_SECONDS = 0.01
OUSTED_SECONDS = 3.0
"""How long a process whose lock file was removed may take to notice and to end."""


def in_use(pid: int | None, directory: Path) -> str:
    """The beginning of a sentence about a process that has the directory; its id may be unknown."""
    holder = f"process {pid}" if pid else "another process"
    return f"{holder} is using the data directory {directory}"


class ProcessLock:
    """An exclusive lock that ends with its process, however that ends.

    A process may hold it once: a second `ProcessLock` on the same database is refused there too.
    While it is held, and after an end without order, the file has the process's id in it.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self.in_order = False
        """Whether the last one who had the lock released it in order, and this one is to do so."""
        self._database = database
        self._descriptor: int | None = None
        self._close: weakref.finalize[..., ProcessLock] | None = None

    def acquire(self) -> None:
        """Take the lock; nothing happens when this object has it.

        Raises `ProcessLockHeld`, naming the holder, when somebody else has it, and
        `DatabaseUnavailable` when the lock file can't be used.
        """
        if self._descriptor is not None:
            return
        is_new = not self.path.exists()
        try:
            # Not through a link: what is written here would end up in another file.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise DatabaseUnavailable(
                f"{self.path} can't be written ({error.strerror}): "
                "the data directory must belong to the user who runs the service"
            ) from None
        try:
            self._take(descriptor)
            self._wait_for_ousted()
            self.in_order = not is_new and not os.pread(descriptor, 1, 0)
            self._sign(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        # A lock that nobody released ends with its object, but at the end of the process with
        # the process, whose threads may be writing until then.
        self._close = weakref.finalize(self, os.close, descriptor)
        self._close.atexit = False

    def _take(self, descriptor: int) -> None:
        if not self._try_lock(descriptor):
            pid = _read_pid(descriptor)
            if pid == os.getpid():
                raise ProcessLockHeld(
                    f"this process already has the data directory {self.path.parent} open: use "
                    "the open manager",
                    pid,
                )
            raise ProcessLockHeld(
                f"{in_use(pid, self.path.parent)}: stop it first, or use its HTTP API", pid
            )

    def _wait_for_ousted(self) -> None:
        """Wait for the end of a process that has the database open and lost its lock file."""
        index, log = (Path(f"{self._database}{suffix}") for suffix in ("-shm", "-wal"))
        if not index.exists() and not log.exists():
            # Nobody has it open: SQLite removes both with the last connection. Reading the list of
            # all locks takes longer than the rest of a start.
            return
        until = time.monotonic() + OUSTED_SECONDS
        while others := owners(self._database):
            if time.monotonic() > until:
                raise ProcessLockHeld(
                    f"process {others[0]} is using {self._database}, whose lock file was removed "
                    "or replaced: stop it first",
                    others[0],
                )
            time.sleep(PAUSE_SECONDS)

    def _sign(self, descriptor: int) -> None:
        text = f"{os.getpid()}\n".encode()
        try:
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path} can't be written ({error.strerror})") from None

    def _try_lock(self, descriptor: int) -> bool:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_SECONDS)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError as error:
                raise DatabaseUnavailable(
                    f"{self.path} can't be locked ({error.strerror}): "
                    "put the data directory on a file system with flock"
                ) from None
            return True
        return False

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        # The file stays: removing it would let two processes lock two files of one name.
        if self._descriptor is not None and self.in_order:
            # Should it not work, the next start looks through the database, and that is all.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
        if self._close is not None:
            self._close()
        self._descriptor = None

    def holder(self) -> int | None:
        """Process id of somebody else who holds the lock, 0 when it can't be read; `None` when
        the lock is free or ours. Raises `DatabaseUnavailable` when that can't be found out."""
        if self._descriptor is not None:
            return None
        try:
            # A pipe of this name is not waited for.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path} can't be read ({error.strerror})") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(descriptor) or 0
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path} can't be locked ({error.strerror})") from None
        finally:
            os.close(descriptor)
        return None


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None
