"""The configuration and the files of an installation."""

import contextlib
import os
import shlex
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from pydantic import SecretStr

from backend.observability.log import get_logger
from backend.runtime.file_kinds import kind_problem
from backend.schemas.retention import RESTORABLE_DAYS, Limit, RetentionLimits
from database.sqlite.backup import is_leftover, sync
from database.sqlite.connection import ConnectionConfig
from database.sqlite.permissions import search_problem

logger = get_logger("strongroom.start")

DATABASE_FILE = "strongroom.db"
MASTER_KEY_FILE = "master.key"
AUDIT_HEADS_FILE = "audit.heads"
TOKEN_FILE = "admin.token"  # noqa: S105 - a file's name
TESTING_TOKEN_FILE = "testing.token"  # noqa: S105 - the same
_EMPTY_BYTES = 1
"""SQLite treats a file of one byte as empty too."""


class Configuration(Protocol):
    """The part of the configuration that a start needs; `Settings` implements it."""

    @property
    def data_dir(self) -> Path: ...
    @property
    def db_readers(self) -> int: ...
    @property
    def db_queue_limit(self) -> int: ...
    @property
    def db_queue_timeout_seconds(self) -> float: ...
    @property
    def master_keys(self) -> SecretStr | None: ...
    @property
    def master_keys_file(self) -> Path | None: ...
    @property
    def master_keys_command(self) -> str | None: ...
    @property
    def is_production(self) -> bool: ...
    @property
    def keep_logs_days(self) -> int: ...
    @property
    def keep_logs(self) -> int: ...
    @property
    def keep_own_logs(self) -> int: ...
    @property
    def keep_runs_days(self) -> int: ...
    @property
    def keep_runs(self) -> int: ...
    @property
    def keep_deliveries_days(self) -> int: ...
    @property
    def keep_deliveries(self) -> int: ...
    @property
    def keep_configuration_versions(self) -> int: ...
    @property
    def keep_secret_versions(self) -> int: ...
    @property
    def keep_audit_days(self) -> int: ...
    @property
    def checkpoints(self) -> Literal["own", "litestream"]: ...


class StartRefused(Exception):
    """The service can't start in this state. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The files of one installation."""

    path: Path

    @property
    def database(self) -> Path:
        """The database file."""
        return self.path / DATABASE_FILE

    @property
    def master_key(self) -> Path:
        """The file of the master key that is generated for development."""
        return self.path / MASTER_KEY_FILE

    @property
    def made_last(self) -> list[Path]:
        """The files that a first start creates after the tables of the database."""
        return [self.audit_heads, self.admin_token]

    @property
    def admin_token(self) -> Path:
        """The file with the token of the first start."""
        return self.path / TOKEN_FILE

    @property
    def testing_token(self) -> Path:
        """The file with the token of the calls for tests, which a server for tests makes."""
        return self.path / TESTING_TOKEN_FILE

    @property
    def audit_heads(self) -> Path:
        """The file with the exported heads of the audit."""
        return self.path / AUDIT_HEADS_FILE

    def make(self) -> None:
        """Create the directory, for its owner only, durably before this returns. Raises
        `StartRefused` when that fails, and the errors of `require_kinds`."""
        self.require_kinds()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartRefused(
                f"{self.path} can't be made ({error.strerror}): choose another data directory"
            ) from None
        # Existing parents too, because the start that created them may have been interrupted.
        for parent in self.path.absolute().parents:
            # A parent that can't be read was not created by a start, so it is durable already.
            with contextlib.suppress(OSError):
                sync(parent)

    def has_use_for(self, file: Path) -> bool:
        """Whether the path is reserved for a file of the installation, existing or not."""
        names = {f"{DATABASE_FILE}{suffix}" for suffix in ("", "-wal", "-shm", "-journal", ".lock")}
        names |= {path.name for path in (self.master_key, self.testing_token, *self.made_last)}
        return file.name in names and file.parent.resolve() == self.path.resolve()

    def require_kinds(self) -> None:
        """Raises `StartRefused` unless the path is a directory that can be searched, and its files
        are ordinary ones."""
        unsearchable = search_problem(self.path)
        if unsearchable is not None:
            raise StartRefused(
                f"{unsearchable}: let that user search it (chmod u+x), or choose another data "
                "directory with --data-dir"
            )
        # Nothing reads the token's file, so only the first start checks its path.
        problem = kind_problem(self.database, (self.master_key, self.audit_heads))
        if problem is not None:
            raise StartRefused(problem)

    def require_whole(self, keys_file: Path | None = None) -> None:
        """Raises `StartRefused` as `require_not_lost` does, and for the remains of an unfinished
        restore or demo."""
        self.require_not_lost(keys_file)
        if self.database.exists():
            return
        left = next(filter(is_leftover, self.path.iterdir()), None)
        if left is not None:
            raise StartRefused(
                f"a demo or a restore into {self.path} did not finish: run the same command "
                f"again, or remove {left.name} from there to begin a new installation"
            )

    def require_database(self, keys_file: Path | None = None) -> None:
        """Raises `StartRefused` without a database; the message names traces of a lost one."""
        self.require_kinds()
        if self.path.is_dir():
            self.require_whole(keys_file)
        if not self.database.is_file():
            raise StartRefused(
                f"{self.database} does not exist: choose the right data directory with "
                "--data-dir, or "
                "start a new one with strongroom serve"
            )

    def require_not_lost(self, keys_file: Path | None = None) -> None:
        """Raises `StartRefused` when there are only traces of a database, and the errors of
        `require_kinds`. A start would create a new installation, and the log of the old one would
        be lost.

        A master key at the configured `keys_file` is not a trace.
        """
        self.require_kinds()
        traces = self._traces(keys_file)
        if traces:
            what = "is empty" if self.database.exists() else "is missing"
            raise StartRefused(
                f"{self.database} {what}, and {', '.join(traces)} beside it "
                f"{'belongs' if len(traces) == 1 else 'belong'} to an installation that had one: "
                "put the file back, or restore a backup into a new directory; to begin a new "
                "installation, move the files in this one away"
            )

    def _traces(self, keys_file: Path | None) -> list[str]:
        """The files of an installation whose database is missing or empty."""
        log, index = (self.path / f"{DATABASE_FILE}{suffix}" for suffix in ("-wal", "-shm"))
        later = self.made_last
        if not self.database.exists():
            suspects = [log, index, *later]
            if keys_file is None or keys_file.absolute() != self.master_key.absolute():
                suspects.append(self.master_key)
        elif self.database.stat().st_size <= _EMPTY_BYTES:
            # An interrupted first start leaves only an empty file and a key.
            suspects = later
            if log.exists() and log.stat().st_size > 0:
                suspects = [log, *later]
        else:
            return []
        return [file.name for file in suspects if os.path.lexists(file)]

    def make_database(self) -> None:
        """Create an empty database file if there is none, durably before this returns. The file is
        created before the key, so that a key without a database shows that the database was lost.

        Raises `StartRefused`.
        """
        try:
            descriptor = os.open(self.database, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync(self.path)
        except OSError as error:
            raise StartRefused(f"{self.database} can't be made ({error.strerror})") from None

    def check_owner(self, *, strict: bool) -> None:
        """Check that other users can't replace the service's files.

        If they can, raises `StartRefused` when `strict` is set, and otherwise logs a warning.
        """
        status = self.path.stat()
        path = shlex.quote(str(self.path))
        if status.st_uid not in (0, os.geteuid()):
            problem = f"belongs to another user: chown -R {os.geteuid()} {path}"
        elif stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
            problem = f"can be written by users other than its owner: chmod go-w {path}"
        elif (open_one := self._open_parent()) is not None:
            problem = f"can be replaced by any user: chmod o-w {shlex.quote(str(open_one))}"
        else:
            return
        if strict:
            raise StartRefused(f"the data directory {problem}")
        logger.warning("other users can change the data", data_directory=problem)

    def _open_parent(self) -> Path | None:
        """A parent directory in which any user may rename the files of others, or `None`."""
        for parent in self.path.resolve().parents:
            mode = parent.stat().st_mode
            # With the sticky bit, as in /tmp, users may rename only their own files.
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                return parent
        return None


def connection_config(settings: Configuration) -> ConnectionConfig:
    """The configured path and pool options of the database."""
    config = ConnectionConfig(
        path=DataDirectory(settings.data_dir).database,
        readers=settings.db_readers,
        queue_limit=settings.db_queue_limit,
        queue_timeout=settings.db_queue_timeout_seconds,
    )
    return replace(config, checkpoint_frames=0) if settings.checkpoints == "litestream" else config


def retention_limits(settings: Configuration) -> RetentionLimits:
    """The configured retention limits. A setting of 0 means no limit."""

    def limit(days: int, newest: int) -> Limit:
        return Limit(days=days or None, newest=newest or None)

    return RetentionLimits(
        logs=limit(settings.keep_logs_days, settings.keep_logs),
        own_logs=limit(settings.keep_logs_days, settings.keep_own_logs),
        runs=limit(settings.keep_runs_days, settings.keep_runs),
        deliveries=limit(settings.keep_deliveries_days, settings.keep_deliveries),
        configuration_versions=limit(0, settings.keep_configuration_versions),
        secret_versions=limit(0, settings.keep_secret_versions),
        deleted_secrets=limit(RESTORABLE_DAYS, 0),
        audit=limit(settings.keep_audit_days, 0),
    )


def require_free(path: Path) -> None:
    """Raises `StartRefused` when `path` exists, even as a broken symbolic link."""
    if os.path.lexists(path):
        raise StartRefused(
            f"{path} exists, and is neither replaced nor followed: move it somewhere else, and "
            "start again"
        )


def make_private(path: Path, text: str) -> None:
    """Create a file that only its owner can read, durably before this returns.

    Raises `StartRefused`, also when `path` exists, which is not changed then. After an error
    nothing is left behind.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
    except FileExistsError:
        require_free(path)
        raise StartRefused(f"{path} was made by another process: start again") from None
    except OSError as error:
        raise _not_writable(path, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # Set the mode explicitly, whatever the umask is.
            os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync(path.parent)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_writable(path, error) from None
        raise


def _not_writable(path: Path, error: OSError) -> StartRefused:
    return StartRefused(
        f"{path} can't be written ({error.strerror}): free some space, or correct the "
        "permissions of its directory, and start again"
    )
