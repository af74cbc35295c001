"""Checkpoints: when the write-ahead log is copied into the database file, and its largest size."""

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Protocol

from database.errors import DatabaseError, FilesReplaced, concerns_connection
from database.sqlite.connection import ConnectionConfig
from database.sqlite.lock_holders import lock_holders
from database.sqlite.open_files import OpenFiles
from database.sqlite.statements import control, fetch_all

logger = logging.getLogger("strongroom.database")

WAIT_MS = 50
"""How long a checkpoint between batches waits for readers. Writers wait for as long."""
RETRY_SECONDS = 1.0
"""The wait before the next checkpoint while a reader pins the log."""
FRAME_BYTES = 4096 + 24
"""The size of a frame: a page and its header."""


def wal_bytes(config: ConnectionConfig) -> int:
    """The size of the write-ahead log in bytes; 0 when it does not exist."""
    try:
        return config.wal_path.stat().st_size
    except FileNotFoundError:
        return 0


class OwnReaders(Protocol):
    """The reads of this process. Callable on any thread."""

    def is_reading(self) -> bool:
        """Whether a read is running."""
        ...

    def interrupt(self, before: float) -> None:
        """Interrupt reads that began before this time; they fail with `DatabaseBusy`."""
        ...


class Checkpointer:
    """Makes checkpoints on the writer's thread, while the write lock is held.

    A log that was copied completely is overwritten from its beginning, and its file keeps its size.
    So the next checkpoint is due once the file grows. The file's size is an upper bound on the
    log's content.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        files: OpenFiles,
        own: OwnReaders,
        reads_elsewhere: Callable[[], bool],
    ) -> None:
        """`reads_elsewhere` returns whether this process has reads that `own` does not include."""
        self.checkpoints = 0
        self.truncations = 0
        self.is_pinned = False
        """Whether another process prevented the log from being emptied when that was last due."""
        self._config = config
        self._files = files
        self._own = own
        self._reads_elsewhere = reads_elsewhere
        self._step = config.checkpoint_frames * FRAME_BYTES
        self._due_bytes = self._step
        self._due_at = 0.0
        self._told_bytes = config.wal_limit_bytes

    def run_if_due(self, raw: sqlite3.Connection, size: int) -> None:
        """Make a checkpoint if a log of `size` bytes is large enough.

        Raises `DatabaseError` when a file can't be read or written, or another program wrote it.
        """
        if not self._config.checkpoint_frames:
            self._warn_if_growing(size)
            return
        if size >= self._due_bytes and time.monotonic() >= self._due_at:
            self._attempt(raw, size)

    def make_room(self, raw: sqlite3.Connection) -> None:
        """Make a checkpoint now, because the disk has no space for a longer log. The log can then
        restart from its beginning.

        Raises `DatabaseError` when a file can't be read or written, or another program wrote it.
        """
        if self._config.checkpoint_frames and time.monotonic() >= self._due_at:
            self._attempt(raw, 0)

    def _attempt(self, raw: sqlite3.Connection, size: int) -> None:
        try:
            control(raw, f"PRAGMA busy_timeout = {WAIT_MS}")
            try:
                self._run(raw, size)
            finally:
                control(raw, f"PRAGMA busy_timeout = {int(self._config.busy_timeout * 1000)}")
        except DatabaseError as error:
            if concerns_connection(error) or isinstance(error, FilesReplaced):
                raise
            # The disk is full. The log keeps all commits, and a later checkpoint tries again.
            logger.warning("a checkpoint failed: %s", error)
            self._due_at = time.monotonic() + RETRY_SECONDS

    def truncate(self, raw: sqlite3.Connection) -> bool:
        """Copy the whole log and empty it, waiting for readers. Returns whether it is empty. Raises
        `DatabaseError`."""
        if not self._checkpoint(raw, "TRUNCATE"):
            self.checkpoints += 1
            return False
        self._done(self._step)
        self.truncations += 1
        return True

    def _run(self, raw: sqlite3.Connection, size: int) -> None:
        limit = self._config.wal_limit_bytes
        if size > min(2 * self._step, limit):
            # The log is longer than the writes between two checkpoints.
            if self.truncate(raw) or (size > limit and self._evict(raw)):
                return
            if self.is_pinned:
                self._tell_of_another(size)
        elif self._checkpoint(raw, "RESTART"):
            self._done(max(size + 1, self._step))
            return
        else:
            self.checkpoints += 1
        self._due_bytes = size + self._step if size <= limit else size
        self._due_at = time.monotonic() + RETRY_SECONDS if size > limit else 0.0

    def _checkpoint(self, raw: sqlite3.Connection, mode: str) -> bool:
        """Make a checkpoint. Returns whether the whole log was copied and no reader uses it."""
        with self._files.checkpointing():
            busy, _, _ = fetch_all(raw, f"PRAGMA wal_checkpoint({mode})", ())[0]
        return not busy

    def _evict(self, raw: sqlite3.Connection) -> bool:
        """Empty the log despite running reads. Returns whether it is empty.

        Long reads of this process are interrupted. Reads that begin after the whole log was copied
        don't use it, because nothing is written in the meantime.
        """
        if self.is_pinned or self._reads_elsewhere():
            # Waiting for this process's reads would not help.
            return False
        patience = self._config.evict_seconds
        until = time.monotonic() + 2 * patience
        while self._own.is_reading() and time.monotonic() < until:
            self._own.interrupt(before=time.monotonic() - patience)
            if self.truncate(raw):
                return True
        if self.truncate(raw):
            return True
        # If reads of this process could not be interrupted, they pin the log, and no other process.
        self.is_pinned = bool(self._others()) or not self._own.is_reading()
        return False

    def _done(self, due_bytes: int) -> None:
        self.checkpoints += 1
        self._due_bytes = due_bytes
        self._due_at = 0.0
        if self.is_pinned:
            logger.info("the write-ahead log was emptied again")
        self.is_pinned = False
        self._told_bytes = self._config.wal_limit_bytes

    def _others(self) -> str:
        """The processes that have the log's index open, as far as the system shows them."""
        return ", ".join(map(str, lock_holders(self._config.shm_path)))

    def _tell_of_another(self, size: int) -> None:
        """Warn once, and again whenever the log has doubled in size."""
        if size < self._told_bytes:
            return
        self._told_bytes = 2 * size
        others = self._others()
        logger.warning(
            "the write-ahead log has %d MB and can't be emptied while another program reads the "
            "database (%s): end its transaction",
            size // 1_000_000,
            f"process {others}" if others else "its process is not known",
        )

    def _warn_if_growing(self, size: int) -> None:
        """Warn when the log grows although another process should make checkpoints."""
        if size > self._told_bytes:
            self._told_bytes = 2 * size
            logger.warning(
                "the write-ahead log has %d MB: the process that checkpoints may have ended",
                size // 1_000_000,
            )
