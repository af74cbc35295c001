"""Whether what stands at the paths of an open database is still what was opened.

A process goes on writing to files that have lost their names: every commit succeeds, and all of it
is gone at the next start.
"""

import contextlib
import errno
import os
from pathlib import Path

from database.errors import FilesReplaced
from database.sqlite.connection import ConnectionConfig


class OpenFiles:
    """The database, its log, the log's index and the lock: by device and inode."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._database = config.path.absolute()
        self._log = config.wal_path
        lock = self._database.with_name(f"{self._database.name}.lock")
        self._paths = (self._database, self._log, config.shm_path, lock)
        self._known: dict[Path, tuple[int, int]] = {}
        self._was_empty = True

    def remember(self) -> None:
        """Take what is there now for what was opened. What is not there is not looked at."""
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                self._known[path] = status.st_dev, status.st_ino
                if path == self._database:
                    self._was_empty = status.st_size == 0

    def require_same(self) -> None:
        """Raises `FilesReplaced`, naming the file, when one was removed or replaced."""
        for path in self._known:
            self._look(path)

    def log_bytes(self) -> int:
        """The log's size after a commit. Raises `FilesReplaced` when what was committed is not in
        the files that the next start will find."""
        self._look(self._database)
        status = self._look(self._log)
        return status.st_size if status is not None else 0

    def _look(self, path: Path) -> os.stat_result | None:
        known = self._known.get(path)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if known is None:
                return None
            raise FilesReplaced(f"{path} was removed while it was in use{_ADVICE}") from None
        except OSError as error:
            if known is not None and error.errno == errno.ELOOP:
                raise FilesReplaced(f"{path} was replaced while it was in use{_ADVICE}") from None
            # It can't be looked at, which says nothing about the file that is open.
            return None
        if known is not None and known != (status.st_dev, status.st_ino):
            raise FilesReplaced(f"{path} was replaced while it was in use{_ADVICE}")
        if path == self._database and status.st_size == 0 and not self._was_empty:
            raise FilesReplaced(f"{path} was emptied while it was in use{_ADVICE}")
        return status


_ADVICE = (
    ": put the file back before the next start or restore a backup, and always stop the service "
    "before you touch its files"
)
