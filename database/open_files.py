"""Whether what stands at the paths of an open database is still what was opened.

A process goes on writing to files that have lost their names: every commit succeeds, and all of it
is gone at the next start.
"""

import contextlib
import os

from database.connection import ConnectionConfig
from database.errors import FilesReplaced


class OpenFiles:
    """The database, its log, the log's index and the lock: by device and inode."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._database = os.fspath(config.path.absolute())
        self._log = os.fspath(config.wal_path)
        # SQLite puts these beside the file that a link leads to; the lock is beside the link.
        index = self._log.removesuffix("-wal") + "-shm"
        self._paths = (self._database, self._log, index, f"{self._database}.lock")
        self._known: dict[str, tuple[int, int]] = {}

    def remember(self) -> None:
        """Take what is there now for what was opened. What is not there is not looked at."""
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                self._known[path] = status.st_dev, status.st_ino

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

    def _look(self, path: str) -> os.stat_result | None:
        known = self._known.get(path)
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            if known is None:
                return None
            raise FilesReplaced(f"{path} was removed while it was in use{_ADVICE}") from None
        except OSError:
            # It can't be looked at, which says nothing about the file that is open.
            return None
        if known is not None and known != (status.st_dev, status.st_ino):
            raise FilesReplaced(f"{path} was replaced while it was in use{_ADVICE}")
        return status


_ADVICE = (
    ": put the file back before the next start, or restore a backup, and stop the service before "
    "its files are touched"
)
