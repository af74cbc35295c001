"""`strongroom backup` and `strongroom restore`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from backend.cli.common import (
    AsJson,
    DataDir,
    counted,
    given_path,
    make_files_private,
    print_json,
    quiet_settings,
)
from backend.cli.failures import CommandFailed, WrongUse
from backend.cli.progress import share_bar
from backend.crypto.keyring import Keyring
from backend.runtime import (
    DataDirectory,
    HeadsFile,
    StartRefused,
    find_keyring,
    make_backup,
    read_only_manager,
    restore_backup,
    verified,
)
from backend.schemas.backups import BackupVerified
from backend.services.operations.work_progress import BACKUP_STEPS, WorkProgress
from config.settings import Settings
from strongroom._commands.terminal import say


def backup(
    dest: Annotated[
        str, typer.Argument(metavar="DEST", help="The file to write; it must not exist yet.")
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole database to one file, and verify the copy.

    It works while the server runs. Master keys are not part of a backup.
    """
    settings = quiet_settings(data_dir)
    make_files_private()
    target = given_path(dest, "DEST").absolute()
    if not target.parent.is_dir():
        raise CommandFailed(f"the directory {target.parent} does not exist: create it first")
    if DataDirectory(settings.data_dir).has_use_for(target):
        raise WrongUse(f"{target} has a name that the data directory needs: choose another file")
    manager = read_only_manager(settings)
    heads = HeadsFile(DataDirectory(settings.data_dir).audit_heads)
    try:
        keyring = _keyring(settings)
        with share_bar("making the backup") as on_share:
            progress = WorkProgress(BACKUP_STEPS, on_share=on_share)
            made = make_backup(
                manager, keyring, heads, target, datetime.now(UTC), progress=progress
            )
    finally:
        manager.sync_pool.close()
    if as_json:
        print_json({"path": str(target), **made.model_dump(mode="json")})
        return
    say(f"{target}: {made.size_bytes} bytes, in {made.duration_seconds:.1f} seconds")
    say(f"sha256 {made.sha256}")
    _print_verified(made.verified)
    say(_keys_apart(made.verified))


def restore(
    src: Annotated[
        str, typer.Argument(metavar="SRC", help="The backup to restore; it is not changed.")
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an installation from a backup, in an empty data directory.

    The master keys of the backup must be configured, or be in the directory's master.key.
    """
    settings = quiet_settings(data_dir)
    make_files_private()
    source = given_path(src, "SRC")
    directory = DataDirectory(settings.data_dir)
    keyring = _keyring(settings)
    with share_bar("restoring the backup") as on_share:
        progress = WorkProgress(BACKUP_STEPS, on_share=on_share)
        found = verified(restore_backup(source.absolute(), directory, keyring, progress))
    if as_json:
        result: dict[str, Any] = {"path": str(directory.database)}
        print_json({**result, "verified": found.model_dump(mode="json")})
        return
    say(f"{src} restored to {directory.database}")
    _print_verified(found)
    say("start it with strongroom serve; tokens work as before")


def _keyring(settings: Settings) -> Keyring:
    keyring = find_keyring(settings)
    if keyring is None:
        raise StartRefused(
            "no master key is configured, and a backup can't be verified without one: set "
            "STRONGROOM_MASTER_KEYS_FILE, STRONGROOM_MASTER_KEYS_COMMAND or "
            "STRONGROOM_MASTER_KEYS, or put master.key into the data directory"
        )
    return keyring


def _print_verified(found: BackupVerified) -> None:
    rows = counted(sum(found.rows.values()), "row")
    say(
        f"verified: integrity, references, schema {found.schema_version:04}, "
        f"master keys {', '.join(found.master_keys)}, "
        f"audit ({counted(found.audit_entries, 'entry', 'entries')}), {rows}"
    )


def _keys_apart(found: BackupVerified) -> str:
    many = len(found.master_keys) != 1
    names = ", ".join(found.master_keys)
    return (
        f"master key{'s' if many else ''} {names} {'are' if many else 'is'} not in it: keep "
        f"{'them' if many else 'it'} somewhere else, because the backup can't be read without "
        f"{'them' if many else 'it'}"
    )
