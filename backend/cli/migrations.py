"""`strongroom migrate`: the schema."""

from typing import Annotated

import typer

from backend.cli.common import (
    AsJson,
    DataDir,
    counted,
    make_files_private,
    print_json,
    quiet_settings,
)
from backend.cli.failures import FAILURE, CommandFailed
from backend.runtime import (
    DataDirectory,
    migrate_installation,
    read_only_manager,
    require_own_schema,
)
from backend.services.audit.guarding import guarding_is_due
from config.settings import Settings
from database.errors import ProcessLockHeld
from database.migrator import load_migrations, pending
from database.sqlite.process_lock import in_use
from strongroom._commands.terminal import say


def migrate(
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only report; the exit status is 1 when migrations are pending."
        ),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Apply the pending migrations."""
    settings = quiet_settings(data_dir)
    if check:
        _check(settings, as_json=as_json)
        return
    make_files_private()
    try:
        applied = migrate_installation(settings)
    except ProcessLockHeld as error:
        raise CommandFailed(
            f"{in_use(error.pid, settings.data_dir)}: the server migrates when it starts, and "
            "GET /ready shows the state; stop it first to migrate with this command"
        ) from None
    if as_json:
        print_json({"applied": applied})
    elif applied:
        say(f"applied {counted(len(applied), 'migration')}: {', '.join(applied)}")
    else:
        say("the schema is up to date")


def _check(settings: Settings, *, as_json: bool) -> None:
    names = _pending(settings)
    if as_json:
        print_json({"pending": names})
    elif names:
        say(f"{counted(len(names), 'migration')} pending: {', '.join(names)}")
    else:
        say("the schema is up to date")
    if names:
        raise typer.Exit(FAILURE)


def _pending(settings: Settings) -> list[str]:
    directory = DataDirectory(settings.data_dir)
    directory.require_kinds()
    if not directory.database.exists():
        if directory.path.is_dir():
            directory.require_whole(settings.master_keys_file)
        return [migration.name for migration in load_migrations()]
    manager = read_only_manager(settings)
    try:
        require_own_schema(manager)
        with manager.sync_pool.connection() as connection:
            names = [migration.name for migration in pending(connection)]
        # Migrations are applied in their order, and the guarding follows the last one.
        return names or (["guarding of rows"] if guarding_is_due(manager) else [])
    finally:
        manager.sync_pool.close()
