"""The lock that lets only one process own a database, on a file beside it."""

import contextlib
import fcntl
import os
import time
import weakref
from pathlib import Path

from database.errors import DatabaseUnavailable, ProcessLockHeld
from database.sqlite.lock_holders import owners

# A process that only asks for the holder holds the lock for a moment, so taking it is retried.
ATTEMPTS = 10
PAUSE_SECONDS = 0.01
OUSTED_SECONDS = 3.0
"""How long a process may take to notice that its lock file was removed, and to end."""


def in_use(pid: int | None, directory: Path) -> str:
    """The beginning of a message about the process that uses the directory; `pid` may be None."""
    holder = f"process {pid}" if pid else "another process"
    return f"{holder} is using the data directory {directory}"


class ProcessLock:
    """An exclusive lock that ends with its process, even after a crash.

    A process can hold it only once: a second `ProcessLock` on the same database is refused. The
    file contains the process's id while the lock is held, and after an unclean end.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self.in_order = False
        """Whether the last holder released the lock cleanly. `release` marks a clean end only if
        this is set."""
        self._database = database
        self._descriptor: int | None = None
        self._close: weakref.finalize[..., ProcessLock] | None = None

    def acquire(self) -> None:
        """Take the lock. Does nothing when this object already has it.

        Raises `ProcessLockHeld`, naming the holder, when another one has it, and
        `DatabaseUnavailable` when the lock file can't be used.
        """
        if self._descriptor is not None:
            return
        is_new = not self.path.exists()
        try:
            # Don't follow a link, because the process id would be written to another file.
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
        # A lock that was not released ends with its object. When the process exits, it lasts until
        # the process has ended, because threads may be writing until then.
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
            # No process has it open, because SQLite removes both files with the last connection.
            # Reading the list of all locks takes longer than the rest of a start.
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
        """Release the lock. Does nothing when it is not held."""
        # The file stays. If it were removed, two processes could lock two files of the same name.
        if self._descriptor is not None and self.in_order:
            # If this fails, the next start checks the database; nothing else follows.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
        if self._close is not None:
            self._close()
        self._descriptor = None

    def holder(self) -> int | None:
        """The process id of another holder of the lock, 0 when it can't be read; `None` when the
        lock is free or this object holds it. Raises `DatabaseUnavailable` when the lock file can't
        be used."""
        if self._descriptor is not None:
            return None
        try:
            # Don't block if the file is a named pipe.
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
