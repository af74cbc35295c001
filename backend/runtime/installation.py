"""Where an installation is: its configuration and its files."""

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
from backend.schemas.retention import Limit, RetentionLimits
from database.sqlite.backup import is_leftover, sync
from database.sqlite.connection import ConnectionConfig

logger = get_logger("strongroom.start")

DATABASE_FILE = "strongroom.db"
MASTER_KEY_FILE = "master.key"
AUDIT_HEADS_FILE = "audit.heads"
TOKEN_FILE = "admin.token"  # noqa: S105 - a file's name
_EMPTY_BYTES = 1
"""SQLite takes a file of one byte for an empty one too."""


class Configuration(Protocol):
    """What of the configuration a start needs; the settings are one."""

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
    def audit_heads_seconds(self) -> float: ...
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
    def checkpoints(self) -> Literal["own", "litestream"]: ...


class StartRefused(Exception):
    """The service can't start as things are. The message is one line that says what to do."""


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
        """The master key made for development."""
        return self.path / MASTER_KEY_FILE

    @property
    def made_last(self) -> list[Path]:
        """Files that a first start makes once the database has its tables."""
        return [self.audit_heads, self.admin_token]

    @property
    def admin_token(self) -> Path:
        """The token of the first start."""
        return self.path / TOKEN_FILE

    @property
    def audit_heads(self) -> Path:
        """Where the audit ended each time that was exported."""
        return self.path / AUDIT_HEADS_FILE

    def make(self) -> None:
        """Make the directory, for its owner only, durable before this returns. Raises
        `StartRefused` when that can't be, and as `require_kinds` does."""
        self.require_kinds()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartRefused(
                f"{self.path} can't be made ({error.strerror}): choose another data directory"
            ) from None
        # Also those that are there: the start that made them may have been cut short.
        for parent in self.path.absolute().parents:
            # One that can't be read was there before, and will be.
            with contextlib.suppress(OSError):
                sync(parent)

    def has_use_for(self, file: Path) -> bool:
        """Whether the file has the name of one of the installation's own, be it there or not."""
        names = {f"{DATABASE_FILE}{suffix}" for suffix in ("", "-wal", "-shm", "-journal", ".lock")}
        names |= {path.name for path in (self.master_key, *self.made_last)}
        return file.name in names and file.parent.resolve() == self.path.resolve()

    def require_kinds(self) -> None:
        """Raises `StartRefused` unless the path is a directory and its files are ordinary ones."""
        # Nothing reads the token's file: only the first start says what lies in its place.
        problem = kind_problem(self.database, (self.master_key, self.audit_heads))
        if problem is not None:
            raise StartRefused(problem)

    def require_whole(self, keys_file: Path | None = None) -> None:
        """Raises `StartRefused` as `require_not_lost` does, and for what a restore or a demo that
        did not come to its end has left."""
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
        """Raises `StartRefused` when there is no database, with what shows that there was one."""
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
        """Raises `StartRefused` when there is no database and something shows that there was one:
        a start would make a new installation, and the log of the old one would be lost. Also as
        `require_kinds` does.

        A master key at `keys_file`, which the configuration names, shows nothing.
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
            # A first start that was cut short leaves an empty file and a key, and no more.
            suspects = later
            if log.exists() and log.stat().st_size > 0:
                suspects = [log, *later]
        else:
            return []
        return [file.name for file in suspects if os.path.lexists(file)]

    def make_database(self) -> None:
        """Make the database file, empty, if there is none; durable before this returns. It comes
        before the key, so that a key alone shows that a database was lost.

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
        """See that nobody else can put files in the place of the service's own.

        Raises `StartRefused` when somebody can and `strict` is set; else a log line warns.
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
        """A directory above this one where everybody may rename what is others'."""
        for parent in self.path.resolve().parents:
            mode = parent.stat().st_mode
            # Where the sticky bit is, as in /tmp, everybody may rename what is their own.
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                return parent
        return None


def connection_config(settings: Configuration) -> ConnectionConfig:
    """Where the database is and how its pools behave, as configured."""
    config = ConnectionConfig(
        path=DataDirectory(settings.data_dir).database,
        readers=settings.db_readers,
        queue_limit=settings.db_queue_limit,
        queue_timeout=settings.db_queue_timeout_seconds,
    )
    return replace(config, checkpoint_frames=0) if settings.checkpoints == "litestream" else config


def retention_limits(settings: Configuration) -> RetentionLimits:
    """How long data is kept, as configured: 0 stands for no limit there."""

    def limit(days: int, newest: int) -> Limit:
        return Limit(days=days or None, newest=newest or None)

    return RetentionLimits(
        logs=limit(settings.keep_logs_days, settings.keep_logs),
        own_logs=limit(settings.keep_logs_days, settings.keep_own_logs),
        runs=limit(settings.keep_runs_days, settings.keep_runs),
        deliveries=limit(settings.keep_deliveries_days, settings.keep_deliveries),
    )


def require_free(path: Path) -> None:
    """Raises `StartRefused` when there is something at `path`, if only a symbolic link."""
    if os.path.lexists(path):
        raise StartRefused(
            f"{path} exists, and is neither replaced nor followed: move it somewhere else, and "
            "start again"
        )


def make_private(path: Path, text: str) -> None:
    """Make a file that only its owner can read, durable before this returns.

    Raises `StartRefused`, also when there is something at `path`, which stays as it is; nothing is
    left behind then.
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
            # Whatever the process's mask takes away or leaves.
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
