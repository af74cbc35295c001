"""Whether what stands at the paths of an open database is still what was opened, and as the service
left it.

A process goes on writing to files that have lost their names: every commit succeeds, and all of it
is gone at the next start. So does one whose files are written by others in their place.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from database.errors import FilesReplaced
from database.sqlite.connection import ConnectionConfig
from database.sqlite.log_index import IndexState, LogIndex


class _Content(NamedTuple):
    """What changes with the database file's content, and what tells of checkpoints."""

    size: int
    written_at: int
    log_index: IndexState | None


class OpenFiles:
    """The database, its log, the log's index and the lock.

    Each must keep its device and inode. The database is only written by checkpoints, and they can
    be told from other writes: the log's index tells of them, whichever process makes them. The log
    and its index have at least the bytes that are in use.
    """

    def __init__(self, config: ConnectionConfig) -> None:
        self._database = config.path.absolute()
        self._log = config.wal_path
        self._index_path = config.shm_path
        self._lock = self._database.with_name(f"{self._database.name}.lock")
        self._only_looks = config.read_only
        self._known: dict[Path, tuple[int, int]] = {}
        self._index: LogIndex | None = None
        self._content: _Content | None = None
        self._is_copied_by_others = False
        """Whether a checkpoint of another process ran at the last look."""
        self._log_bytes = 0
        self._index_bytes = 0
        self._looking = threading.Lock()
        """Held while the content is compared, and for a whole checkpoint."""

    def remember(self) -> None:
        """Take what is there now for what was opened. What is not there is not looked at."""
        for path in (self._database, self._log, self._index_path, self._lock):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                self._known[path] = status.st_dev, status.st_ino
        if not self._only_looks:
            with contextlib.suppress(OSError):
                self._index = LogIndex(self._index_path)
        self._take_content()

    def close(self) -> None:
        """Let go of the files, once no connection of this process has them open."""
        if self._index is not None:
            self._index.close()

    def require_same(self) -> None:
        """Raises `FilesReplaced`, naming the file, when one was removed or replaced, or written by
        others in its place. For the event loop."""
        self._look(self._database)
        # Nothing can be said of the content in the middle of a checkpoint, which looks by itself.
        if self._looking.acquire(blocking=False):
            try:
                self._compare_content()
            finally:
                self._looking.release()
        log, index, _ = map(self._look, (self._log, self._index_path, self._lock))
        if index is not None:
            if index.st_size < self._index_bytes:
                raise _shortened(self._index_path)
            self._index_bytes = index.st_size
        if log is not None:
            self._compare_log()

    def before_commit(self) -> None:
        """Raises `FilesReplaced` when the database or the log was removed or replaced, or the log
        was shortened since the last commit: the next one would make it as long again, with a hole
        in it."""
        self._look(self._database)
        status = self._look(self._log)
        if status is not None and status.st_size < self._log_bytes:
            self._compare_log()

    def after_commit(self) -> int:
        """The log's size after a commit. Raises `FilesReplaced` when what was committed is not in
        the files that the next start will find."""
        with self._looking:
            self._compare_content()
        status = self._look(self._log)
        self._log_bytes = status.st_size if status is not None else 0
        return self._log_bytes

    @contextlib.contextmanager
    def checkpointing(self) -> Iterator[None]:
        """For a block that checkpoints: how it leaves the files is how they must be from then on.

        Raises `FilesReplaced` as `require_same` does, before the block.
        """
        with self._looking:
            self._compare_content()
            self._compare_log()
            try:
                yield
            finally:
                self._take_content()

    def _take_content(self) -> None:
        state = self._state()
        with contextlib.suppress(OSError):
            status = self._database.stat()
            self._content = _Content(status.st_size, status.st_mtime_ns, state)
            self._is_copied_by_others = False
        with contextlib.suppress(OSError):
            self._log_bytes = self._log.stat().st_size

    def _state(self) -> IndexState | None:
        return None if self._index is None else self._index.read()

    def _compare_content(self) -> None:
        # Before the look: what a checkpoint of another process writes after it must be news then.
        state = self._state()
        status = self._look(self._database)
        known = self._content
        if status is None or known is None:
            return
        is_same = status.st_size == known.size and status.st_mtime_ns == known.written_at
        if not is_same and not self._is_explained(known.log_index, self._state()):
            what = "written by another program" if status.st_size else "emptied"
            raise FilesReplaced(f"{self._database} was {what} while it was in use{_ADVICE}")
        self._is_copied_by_others = (
            state is not None
            and state.to_copy > state.copied
            and self._is_explained(known.log_index, state)
        )
        self._content = _Content(status.st_size, status.st_mtime_ns, state)

    def _is_explained(self, known: IndexState | None, state: IndexState | None) -> bool:
        """Whether a checkpoint of another process, such as Litestream, wrote the database."""
        if known is None or state is None:
            return False
        return self._is_copied_by_others or state.was_copied_since(known)

    def _compare_log(self) -> None:
        """Hold the log's size and beginning against its index."""
        state = self._state()
        try:
            with self._log.open("rb") as file:
                salts = os.pread(file.fileno(), 8, 16)
                size = os.fstat(file.fileno()).st_size
        except OSError:
            return
        # A log that started from its beginning in the meantime has other salts.
        if state is None or not state.log_bytes or state != self._state():
            return
        if size < state.log_bytes:
            raise _shortened(self._log)
        if salts != state.salts:
            raise FilesReplaced(
                f"{self._log} was written by another program while it was in use{_ADVICE}"
            )

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
        return status


def _shortened(path: Path) -> FilesReplaced:
    return FilesReplaced(f"{path} was shortened while it was in use{_ADVICE}")


_ADVICE = (
    ": put the file back before the next start or restore a backup, and always stop the service "
    "before you touch its files"
)
