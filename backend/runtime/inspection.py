"""Opens an installation for reading only, even while a server is running."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from backend.crypto.keyring import Keyring, MasterKey
from backend.crypto.service_keys import ServiceKeys
from backend.crypto.vault import Vault
from backend.errors import SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.keys_repository import KeyRecords, read_key_records
from backend.runtime.file_checks import require_access
from backend.runtime.installation import (
    Configuration,
    DataDirectory,
    StartRefused,
    connection_config,
)
from backend.runtime.keys import NoKeys, check_keys
from backend.runtime.schema import require_own_schema
from backend.services.audit.guarding import guarding_is_due
from backend.services.base import Kit
from backend.services.database_service import DatabaseService
from backend.services.guard import BlindGuard
from database.connection_manager import DatabaseManager
from database.migrator import pending
from database.sqlite.backup import row_counts

_NO_SERVICE_KEYS = ServiceKeys(
    cursors=b"",
    token_macs=b"",
    session_macs=b"",
    audit_chain=b"",
    row_digests=b"",
    idempotency=b"",
)


@dataclass(frozen=True, slots=True)
class Inspection:
    """An installation opened for reading."""

    manager: DatabaseManager
    records: KeyRecords
    keyring: Keyring | None
    service: DatabaseService
    has_service_keys: bool
    """Whether the installation's own key could be decrypted, so that MACs can be checked."""


def read_only_manager(settings: Configuration) -> DatabaseManager:
    """A manager that takes no lock and writes nothing. It is not opened yet.

    Raises `StartRefused` when there is no database.
    """
    directory = DataDirectory(settings.data_dir)
    directory.require_database(settings.master_keys_file)
    require_access(directory, writing=False)
    return DatabaseManager(replace(connection_config(settings), readers=1, read_only=True))


_OF_MIGRATIONS = frozenset({"schema_migrations", "project_index_state", "run_index_state"})
"""The tables in which migrations insert rows."""


def rows_without_installation(settings: Configuration) -> int | None:
    """The number of rows in a database without an installation; `None` when it has one.

    0 means that the database was migrated, but never used. Raises `StartRefused` when there is no
    database, and `DatabaseError`.
    """
    manager = read_only_manager(settings)
    try:
        if read_key_records(manager) is not None:
            return None
        with manager.sync_pool.connection() as connection:
            counts = row_counts(connection)
        return sum(rows for table, rows in counts.items() if table not in _OF_MIGRATIONS)
    finally:
        manager.sync_pool.close()


@asynccontextmanager
async def inspection(
    settings: Configuration, keyring: Keyring | None, *, check: bool = True
) -> AsyncIterator[Inspection]:
    """The installation, open for reading during the block. With `check` its keys must be right.

    Without a keyring no value can be decrypted, and guarded rows are not compared. Raises
    `StartRefused` when there is no database or when its schema or keys do not fit this program and
    configuration, and `DatabaseError`.
    """
    manager = read_only_manager(settings)
    try:
        require_own_schema(manager)
        with manager.sync_pool.connection() as connection:
            waiting = pending(connection)
        if waiting or guarding_is_due(manager):
            raise StartRefused(
                f"{manager.config.path} is not up to date: run strongroom migrate or strongroom "
                "serve"
            )
        records = read_key_records(manager)
        if records is None:
            raise StartRefused(
                f"{manager.config.path} holds no installation yet: run strongroom serve to "
                "create one"
            )
        if check and keyring is not None:
            check_keys(manager, keyring)
        await manager.async_pool.open()
        yield await _opened(manager, records, keyring)
    finally:
        await manager.close()


async def _opened(
    manager: DatabaseManager, records: KeyRecords, keyring: Keyring | None
) -> Inspection:
    vault = Vault(keyring or NoKeys(), records.installation_id)
    root = await _root_key(manager, vault)
    keys = ServiceKeys.derived_from(root) if root is not None else _NO_SERVICE_KEYS
    kit = Kit(manager, vault, keys)
    if root is None:
        kit.guard = BlindGuard(kit.guard.digests)
    service = DatabaseService(kit)
    return Inspection(manager, records, keyring, service, has_service_keys=root is not None)


async def _root_key(manager: DatabaseManager, vault: Vault) -> MasterKey | None:
    installation = await Repositories(manager).keys.installation()
    try:
        return None if installation is None else vault.installation_key(installation.wrapped_key)
    except SecretUnreadable:
        # An inspection of a damaged installation should still show the rest.
        return None
