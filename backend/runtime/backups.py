"""Makes and restores backups.

However the process ends, a backup or a restored database is either complete or absent.
"""

import contextlib
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from backend.crypto.keyring import Keyring
from backend.repositories.keys_repository import begin_epoch
from backend.runtime.audit_heads import HeadsFile
from backend.runtime.copies import BadCopy, CheckedCopy, check_copy
from backend.runtime.file_kinds import wrong_file
from backend.runtime.installation import DATABASE_FILE, DataDirectory, StartRefused
from backend.runtime.new_installation import BACKUPS_FOLDER, empty_directory, put_in_place
from backend.schemas.backups import Backup, BackupCreated, BackupVerified
from backend.services.operations.work_progress import WorkProgress
from database.base import time_text
from database.connection_manager import DatabaseManager
from database.errors import DatabaseUnavailable
from database.sqlite.backup import (
    TargetExists,
    copy_database,
    copy_file,
    publish,
    sha256,
    sync,
    workspace,
)
from database.sqlite.check_progress import nothing_told
from database.sqlite.wal import wal_bytes

_NAME = re.compile(r"strongroom-(\d{8}T\d{6}\.\d{6}Z)\.db")
_TIME = "%Y%m%dT%H%M%S.%fZ"


def nothing_more() -> None:
    """The default step between a backup's verification and its publication: does nothing."""


def make_backup(
    manager: DatabaseManager,
    keyring: Keyring,
    heads: HeadsFile,
    target: Path,
    now: datetime,
    before_publishing: Callable[[], None] = nothing_more,
    go_on: Callable[[], bool] = lambda: True,
    progress: WorkProgress | None = None,
) -> BackupCreated:
    """Copy the database to the new file `target` while others write, and verify the copy.

    The backup has everything that was committed before the call. `before_publishing` is called
    after the verification; if it raises, nothing is left behind. When `go_on` returns false, the
    copy stops with `DatabaseBusy`. `progress` is told how far it is. Raises `TargetExists`,
    `BadCopy` and `DatabaseError`, and `StartRefused` when master keys are missing.
    """
    began = time.monotonic()
    # The heads are read before the copy begins, so the copy must contain all of them.
    exported = list(heads.heads())
    if target.exists():
        raise TargetExists(f"{target} exists: choose another file")
    told = progress.of if progress is not None else lambda _: nothing_told
    with workspace(target.parent) as folder:
        copy = folder / target.name
        with manager.sync_pool.connection(read_only=True) as connection:
            rows = copy_database(connection, copy, go_on, told("copying"))
        found = check_copy(copy, keyring, exported, progress)
        if found.rows != rows:
            raise BadCopy("the copy does not have as many rows as the database")
        digest, size = sha256(copy), copy.stat().st_size
        told("reading it once more")(1.0)
        before_publishing()
        publish(copy, target)
    return BackupCreated(
        name=target.name,
        size_bytes=size,
        created_at=time_text(now),
        sha256=digest,
        duration_seconds=round(time.monotonic() - began, 3),
        verified=verified(found),
    )


def verified(found: CheckedCopy) -> BackupVerified:
    """The result of a check, as answers show it."""
    return BackupVerified(
        integrity=True,
        references=True,
        schema_version=found.schema_version,
        master_keys=list(found.master_keys),
        audit_entries=found.audit_entries,
        rows=found.rows,
    )


class BackupFolder:
    """The folder with a server's backups, in its data directory."""

    def __init__(self, data_directory: DataDirectory) -> None:
        self.path = data_directory.path / BACKUPS_FOLDER

    def new(self, now: datetime) -> Path:
        """The path of a backup made now. Creates the folder durably if it is missing. Raises
        `DatabaseUnavailable`."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            sync(self.path.parent)
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path} can't be made ({error.strerror})") from None
        return self.path / f"strongroom-{now.astimezone(UTC).strftime(_TIME)}.db"

    def after(self, name: str | None, limit: int) -> list[Backup]:
        """Up to `limit` backups, newest first, that are older than the one called `name`.

        Raises `DatabaseUnavailable`.
        """
        try:
            names = [entry.name for entry in self.path.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path} can't be read ({error.strerror})") from None
        ours = sorted(filter(_NAME.fullmatch, names), reverse=True)
        older = (found for found in ours if name is None or found < name)
        backups: list[Backup] = []
        for found in older:
            if len(backups) == limit:
                break
            # A backup that was removed meanwhile is left out.
            with contextlib.suppress(FileNotFoundError, ValueError):
                backups.append(self._backup(found))
        return backups

    def _backup(self, name: str) -> Backup:
        match = _NAME.fullmatch(name)
        assert match is not None  # noqa: S101 - the caller passes only such names
        at = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
        return Backup(
            name=name, size_bytes=(self.path / name).stat().st_size, created_at=time_text(at)
        )


class ServerBackups:
    """Makes and lists the backups of a running server. Used on any thread."""

    def __init__(
        self, manager: DatabaseManager, keyring: Keyring, data_directory: DataDirectory
    ) -> None:
        self._manager = manager
        self._keyring = keyring
        self._heads = HeadsFile(data_directory.audit_heads)
        self._folder = BackupFolder(data_directory)

    def make(
        self, now: datetime, before_publishing: Callable[[str], None], progress: WorkProgress
    ) -> BackupCreated:
        """Make a new backup: see `make_backup`."""
        target = self._folder.new(now)
        return make_backup(
            self._manager,
            self._keyring,
            self._heads,
            target,
            now,
            lambda: before_publishing(target.name),
            self._log_has_room,
            progress,
        )

    def _log_has_room(self) -> bool:
        """Whether the write-ahead log, which can't be emptied during the copy, is small enough."""
        config = self._manager.config
        return wal_bytes(config) < config.wal_limit_bytes * 7 // 4

    def after(self, name: str | None, limit: int) -> list[Backup]:
        """A page of the list: see `BackupFolder.after`."""
        return self._folder.after(name, limit)


def restore_backup(
    source: Path,
    directory: DataDirectory,
    keyring: Keyring,
    progress: WorkProgress | None = None,
) -> CheckedCopy:
    """Create the installation in `directory` from the backup `source`, which is not changed.
    Returns the contents found by `check_copy`, and tells `progress` how far it is.

    Nothing appears before `check_copy` has verified the copy, except for audit heads, which a
    backup does not have. Raises `StartRefused` when the directory has anything but a master key
    and backups, `ProcessLockHeld` when another process uses it, and the errors of `check_copy`.
    """
    problem = wrong_file(source)
    if problem is not None:
        raise StartRefused(f"{problem}: name a backup")
    if not source.is_file():
        raise StartRefused(f"the file {source} does not exist: name a backup")
    if source.with_name(source.name + "-wal").exists():
        raise StartRefused(
            f"{source} has a write-ahead log beside it, so it may be a database in use: make a "
            "backup with strongroom backup"
        )
    with empty_directory(directory) as folder:
        copy = folder / DATABASE_FILE
        copy_file(source, copy)
        if progress is not None:
            progress.tell("copying", 1.0)
        found = check_copy(copy, keyring, progress=progress)
        _begin_epoch(copy)
        put_in_place(copy, directory)
    return found


def _begin_epoch(copy: Path) -> None:
    """Have clients notice that the ids after the backup are given out again."""
    manager = DatabaseManager(copy)
    try:
        begin_epoch(manager, int(time.time()))
    finally:
        manager.sync_pool.close()
