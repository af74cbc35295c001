"""Where an installation is: its configuration and its files."""

import contextlib
import os
import shlex
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from pydantic import SecretStr

from backend.log import get_logger
from backend.schemas.retention import Limit, RetentionLimits
from database.backup import is_leftover, sync
from database.connection import ConnectionConfig

logger = get_logger("strongroom.start")

DATABASE_FILE = "strongroom.db"
MASTER_KEY_FILE = "master.key"
AUDIT_HEADS_FILE = "audit.heads"
TOKEN_FILE = "admin.token"  # noqa: S105 - a file's name


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
    def admin_token(self) -> Path:
        """The token of the first start."""
        return self.path / TOKEN_FILE

    @property
    def audit_heads(self) -> Path:
        """Where the audit ended each time that was exported."""
        return self.path / AUDIT_HEADS_FILE

    def make(self) -> None:
        """Make the directory, for its owner only, durable before this returns. Raises
        `StartRefused` when that can't be."""
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

    def require_whole(self) -> None:
        """Raises `StartRefused` when a restore or a demo has left a part of itself and no
        database: a start would make a new installation, which nobody meant."""
        if self.database.exists():
            return
        left = next(filter(is_leftover, self.path.iterdir()), None)
        if left is not None:
            raise StartRefused(
                f"a demo or a restore into {self.path} did not come to its end: run the same "
                f"command again, or remove {left.name} from there to begin a new installation"
            )

    def check_owner(self, *, strict: bool) -> None:
        """See that nobody else can put files in the place of the service's own.

        Raises `StartRefused` when somebody can and `strict` is set; else a log line warns.
        """
        status = self.path.stat()
        path = shlex.quote(str(self.path))
        if status.st_uid not in (0, os.geteuid()):
            problem = f"belongs to another user: chown -R {os.geteuid()} {path}"
        elif stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
            problem = f"can be written by others than its owner: chmod go-w {path}"
        elif (open_one := self._open_parent()) is not None:
            problem = f"can be replaced by everybody: chmod o-w {shlex.quote(str(open_one))}"
        else:
            return
        if strict:
            raise StartRefused(f"the data directory {problem}")
        logger.warning("others can change the data", data_directory=problem)

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
        runs=limit(settings.keep_runs_days, settings.keep_runs),
        deliveries=limit(settings.keep_deliveries_days, settings.keep_deliveries),
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, durable before this returns.

    Raises `StartRefused`.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync(path.parent)
    except OSError as error:
        raise StartRefused(f"{path} can't be written ({error.strerror})") from None
