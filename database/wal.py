"""The write-ahead log: when it is copied into the database file, and how large it may become."""

import logging
import sqlite3

from database.connection import ConnectionConfig
from database.errors import DatabaseError, concerns_connection
from database.statements import control, fetch_all
from database.write_lock import WriteLock

logger = logging.getLogger("strongroom.database")

TRUNCATE_WAIT_MS = 50
"""How long a truncation between batches waits for readers: writers wait as long."""


def wal_bytes(config: ConnectionConfig) -> int:
    """Size of the write-ahead log in bytes; 0 when there is none."""
    try:
        return config.wal_path.stat().st_size
    except FileNotFoundError:
        return 0


class Checkpointer:
    """Checkpoints on the writer's thread, while the write lock is held.

    Frames can't be counted without a checkpoint, so they are estimated from the commits since the
    last one, and the estimate is corrected each time.
    """

    def __init__(self, config: ConnectionConfig, write_lock: WriteLock) -> None:
        self.checkpoints = 0
        self.truncations = 0
        self._config = config
        self._write_lock = write_lock
        self._seen_commits = write_lock.commits
        self._frames_per_commit = 8.0
        self._left_frames = 0
        self._expected_bytes = config.wal_limit_bytes

    def run_if_due(self, raw: sqlite3.Connection) -> None:
        """Copy what can be copied without waiting, if enough has gathered.

        Raises `DatabaseError` when reading or writing a file failed.
        """
        if not self._config.checkpoint_frames:
            self._watch()
            return
        commits = self._write_lock.commits - self._seen_commits
        if commits * self._frames_per_commit < self._config.checkpoint_frames:
            return
        self._seen_commits = self._write_lock.commits
        try:
            _, log, moved = _checkpoint(raw, "PASSIVE")
        except DatabaseError as error:
            if concerns_connection(error):
                raise
            # A full disk: the log keeps everything, and the next checkpoint tries again.
            logger.warning("a checkpoint failed: %s", error)
            return
        self.checkpoints += 1
        new = log - self._left_frames
        if commits and new > 0:
            self._frames_per_commit = max(1.0, new / commits)
        # A log that was copied whole starts anew with the next commit.
        self._left_frames = 0 if log == moved else log
        if log == moved and wal_bytes(self._config) > self._config.wal_limit_bytes:
            self._shorten(raw)

    def truncate(self, raw: sqlite3.Connection) -> bool:
        """Copy everything and empty the log, waiting for readers; whether it is empty now."""
        self._seen_commits = self._write_lock.commits
        busy, log, _ = _checkpoint(raw, "TRUNCATE")
        self.checkpoints += 1
        if busy:
            self._left_frames = log
            return False
        self._left_frames = 0
        self.truncations += 1
        return True

    def _watch(self) -> None:
        """Tell when the log grows although another process should be copying it."""
        size = wal_bytes(self._config)
        if size > self._expected_bytes:
            self._expected_bytes = 2 * size
            logger.warning(
                "the write-ahead log has %d MB: the process that checkpoints may have ended",
                size // 1_000_000,
            )

    def _shorten(self, raw: sqlite3.Connection) -> None:
        # A reader in the middle of a long statement must not hold up every writer.
        control(raw, f"PRAGMA busy_timeout = {TRUNCATE_WAIT_MS}")
        try:
            self.truncate(raw)
        finally:
            control(raw, f"PRAGMA busy_timeout = {int(self._config.busy_timeout * 1000)}")


def _checkpoint(raw: sqlite3.Connection, mode: str) -> tuple[bool, int, int]:
    """Whether it was kept from completing, frames in the log, and how many of them are copied."""
    busy, log, moved = fetch_all(raw, f"PRAGMA wal_checkpoint({mode})", ())[0]
    return bool(busy), max(log, 0), max(moved, 0)
