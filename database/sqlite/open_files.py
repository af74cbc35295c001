"""Checking that the files of an open database are still the opened ones, and that no other program
has changed them.

A process can keep writing to files that were removed or replaced. Every commit succeeds, and all of
them are lost at the next start. The same happens when another program overwrites the files.
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
    """Signs of a change of the database file's content, and the index state, which shows
    checkpoints."""

    size: int
    written_at: int
    log_index: IndexState | None


class OpenFiles:
    """The database, its log, the log's index and the lock file.

    Each must keep its device and inode. Only checkpoints write the database, and the log's index
    shows the checkpoints of all processes, which distinguishes them from other writes. The log and
    its index must have at least the bytes that are in use.
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
        """Whether a checkpoint of another process was running at the last check."""
        self._log_bytes = 0
        self._index_bytes = 0
        self._looking = threading.Lock()
        """Held while the content is compared, and for a whole checkpoint."""

    def remember(self) -> None:
        """Remember the present files as the opened ones. Missing files are not checked."""
        for path in (self._database, self._log, self._index_path, self._lock):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                self._known[path] = status.st_dev, status.st_ino
        if not self._only_looks:
            with contextlib.suppress(OSError):
                self._index = LogIndex(self._index_path)
        self._take_content()

    def close(self) -> None:
        """Close the index. Call it when no connection of this process has the files open."""
        if self._index is not None:
            self._index.close()

    def require_same(self) -> None:
        """Raises `FilesReplaced`, naming the file, when a file was removed, replaced or written by
        another program. For the event loop."""
        self._look(self._database)
        # During a checkpoint the content can't be judged; the checkpoint checks it itself.
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
        was shortened since the last commit. The next commit would extend it again, with a hole.
        """
        self._look(self._database)
        status = self._look(self._log)
        if status is not None and status.st_size < self._log_bytes:
            self._compare_log()

    def after_commit(self) -> int:
        """The log's size after a commit. Raises `FilesReplaced` when the next start would not find
        the commit in the files."""
        with self._looking:
            self._compare_content()
        status = self._look(self._log)
        self._log_bytes = status.st_size if status is not None else 0
        return self._log_bytes

    @contextlib.contextmanager
    def checkpointing(self) -> Iterator[None]:
        """A block that makes a checkpoint. The state of the files after it is the new reference.

        Raises `FilesReplaced` like `require_same`, before the block.
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
        # Read before the file's status, so that a later checkpoint of another process counts as a
        # change at the next check.
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
        """Compare the log's size and header with its index."""
        state = self._state()
        try:
            with self._log.open("rb") as file:
                salts = os.pread(file.fileno(), 8, 16)
                size = os.fstat(file.fileno()).st_size
        except OSError:
            return
        # If the log was restarted in the meantime, its salts differ.
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
            # The path can't be checked, which says nothing about the open file.
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
