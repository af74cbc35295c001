"""Changes an installation whose server is not running."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.cli.failures import CommandFailed
from backend.runtime import DataDirectory, Runtime
from backend.services.database_service import DatabaseService
from config.settings import Settings
from database.errors import ProcessLockHeld
from database.sqlite.process_lock import in_use


@asynccontextmanager
async def offline_service(
    settings: Settings, call: str, *, issue_first_token: bool = True
) -> AsyncIterator[DatabaseService]:
    """The installation's service for the block, with exclusive access.

    Raises `CommandFailed` when a server is running; its message names `call`, the HTTP call with
    the same effect. Raises `StartRefused` when there is no database, and the errors of
    `Runtime.start`.
    """
    DataDirectory(settings.data_dir).require_database(settings.master_keys_file)
    try:
        runtime = await Runtime.start(settings, issue_first_token=issue_first_token)
    except ProcessLockHeld as error:
        raise CommandFailed(
            f"{in_use(error.pid, settings.data_dir)}: stop it first, or send {call} to the running "
            "server"
        ) from None
    try:
        yield runtime.service
    finally:
        await runtime.stop()
