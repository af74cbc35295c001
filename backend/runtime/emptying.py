"""Empties a running installation: another one begins in the same files, as after a first start."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backend.crypto.keyring import Keyring
from backend.crypto.service_keys import ServiceKeys
from backend.crypto.vault import Vault
from backend.repositories import initialize_database
from backend.repositories.keys_repository import Installation
from backend.runtime.installation import DATABASE_FILE, DataDirectory
from backend.runtime.new_installation import BACKUPS_FOLDER
from backend.runtime.start import Runtime
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.database_service import DatabaseService
from database.connection_manager import DatabaseManager
from database.sqlite.template import Template


class EmptyStore:
    """An empty database in memory, which replaces the content of a running installation's."""

    def __init__(self) -> None:
        """Make the database, with the newest schema and no installation. Takes a few tenths of a
        second. Raises `DatabaseError`."""
        with tempfile.TemporaryDirectory(prefix="strongroom-") as folder:
            path = Path(folder) / DATABASE_FILE
            manager = DatabaseManager(path)
            try:
                initialize_database(manager)
            finally:
                # The last connection to close moves the log into the file.
                manager.sync_pool.close()
                manager.process_lock.release()
            self._template = Template(path)

    def close(self) -> None:
        """Free the memory."""
        self._template.close()

    async def begin_again(self, ended: Runtime, *, epoch: int) -> tuple[Runtime, str]:
        """Replace everything that the installation of `ended` keeps by a new installation with the
        same master keys. Returns its runtime, and the token of its administrator.

        The work of `ended` must have ended, and nothing may use its service any more, also on its
        way. Ids begin at 1 again, so `epoch` must be one that the store has not had. Raises
        `DatabaseError`, and then it may be called again.
        """
        settings, manager, keyring = ended.settings, ended.manager, ended.keyring
        pool = manager.async_pool
        await pool.run_alone(self._template.replace)
        # The counters of the earlier service would be stepped with each commit, for ever.
        pool.table_versions.forget()
        directory = DataDirectory(settings.data_dir)
        await asyncio.to_thread(_remove_files, directory)
        vault = Vault(keyring, os.urandom(16).hex())
        installation = Installation(vault.installation_id, vault.new_installation_key())
        keys = ServiceKeys.derived_from(vault.installation_key(installation.wrapped_key))
        earlier = ended.service.kit
        kit = Kit(manager, vault, keys, clock=earlier.clock)
        kit.kept_versions = earlier.kept_versions
        for shown, version in kit.shown_versions.items():
            # An answer that is on its way must not be taken for one that is valid now.
            version.follow(earlier.shown_versions[shown])
        service = DatabaseService(kit)
        token = await _Beginning(service).begin(vault, keyring, installation, epoch, directory)
        runtime = Runtime(settings, manager, keyring, service)
        runtime.first_token = directory.admin_token
        await runtime.heads.compare()
        return runtime, token


def later_epoch(epoch: int) -> int:
    """An epoch after this one, which no store has had, unless the clock was set back."""
    return max(int(time.time()), epoch + 1)


class _Beginning(UseCases):
    """The first unit of an installation in an emptied database: one COMMIT for all of it."""

    def __init__(self, service: DatabaseService) -> None:
        super().__init__(service.kit)
        self._tokens = service.tokens

    async def begin(
        self,
        vault: Vault,
        keyring: Keyring,
        installation: Installation,
        epoch: int,
        directory: DataDirectory,
    ) -> str:
        """Store the installation and its first token, which is returned."""
        tokens: list[str] = []

        def keep(token: str) -> None:
            tokens.append(token)
            _write_token(directory.admin_token, token)

        await self._begin(vault, keyring, installation, epoch, keep)
        return tokens[-1]

    @unit_of_work
    async def _begin(
        self,
        vault: Vault,
        keyring: Keyring,
        installation: Installation,
        epoch: int,
        keep: Callable[[str], None],
    ) -> None:
        async with self.transaction() as repositories:
            for key_id in keyring.ids():
                await repositories.keys.add_canary(key_id, vault.canary(key_id))
            await repositories.keys.install(installation, vault.current_master_key_id)
            await repositories.keys.begin_at(epoch)
            await self._tokens.create_first(keep)


def _remove_files(directory: DataDirectory) -> None:
    """Remove what the earlier installation has left beside its database."""
    for file in directory.made_last:
        file.unlink(missing_ok=True)
    backups = directory.path / BACKUPS_FOLDER
    if backups.is_dir():
        shutil.rmtree(backups)


def _write_token(path: Path, token: str) -> None:
    """Write the token's file, for its owner only. It is not synced: after a crash of the machine
    the store begins again anyway."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(token + "\n")
