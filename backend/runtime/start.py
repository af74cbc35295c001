"""Starts an installation: lock, schema, keys, migrations, pool, in this order."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Self

from backend.crypto.keyring import Keyring
from backend.crypto.service_keys import ServiceKeys
from backend.crypto.token_format import parse_token
from backend.crypto.vault import Vault
from backend.errors import SecretUnreadable
from backend.observability.log import get_logger
from backend.repositories import initialize_database
from backend.repositories.keys_repository import Installation, read_key_records
from backend.runtime.background import BackgroundWork
from backend.runtime.backups import ServerBackups
from backend.runtime.file_checks import (
    look_at_log,
    require_access,
    require_tables,
    require_whole_file,
    try_write,
)
from backend.runtime.guarding import guard_rows
from backend.runtime.heads_export import HeadsExport
from backend.runtime.installation import (
    Configuration,
    DataDirectory,
    StartRefused,
    connection_config,
    make_private,
    retention_limits,
)
from backend.runtime.keys import check_keys, load_keyring
from backend.runtime.own_logs import OwnLogs
from backend.runtime.schema import require_own_schema
from backend.services.audit.guarding import guarding_is_due
from backend.services.base import KeptVersions, Kit, UnitsOfWork, unit_of_work
from backend.services.database_service import DatabaseService
from backend.services.operations.backups import BackupRunner
from backend.services.operations.log_indexing import LogIndexer
from backend.services.operations.pruner import Pruner
from backend.services.operations.rotation_runner import RotationRunner
from backend.services.operations.search_indexer import SearchIndexer
from backend.services.runs.presence import TICK_SECONDS
from database.base import Clock, utc_now
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError
from database.sqlite.integrity import sqlite_version

logger = get_logger("strongroom.start")

ROTATION_CHECK_SECONDS = 60.0
"""How often the server looks for an interrupted key rotation; first at the start."""
TOKEN_USES_SECONDS = 60.0
"""How often the last uses of tokens are stored."""
UNKNOWN_TOKENS_SECONDS = 60.0
"""How often the audit gets an entry if there were requests with tokens that are not valid."""
SEARCH_INDEX_SECONDS = 0.25
"""How often the server looks for projects and runs that are not indexed yet, which a search reads
itself."""
EXPIRED_SESSIONS_SECONDS = 600.0
"""How often the rows of sessions that have expired are removed; they open nothing before."""
RETENTION_SECONDS = 600.0
"""How often data beyond the retention limits is removed; first at the start."""
LOG_WORDS_SECONDS = 60.0
"""How often indexing the logs of an earlier version is tried again after a failure; first at the
start."""
OWN_LOGS_SECONDS = 1.0
"""How often the service's own warnings and errors are stored."""
FILES_CHECK_SECONDS = 1.0
"""How often the server checks that the open files are still the database's."""
HEADS_SECONDS = 1.0
"""How often the end of the audit is compared, and written to `audit.heads` if it has changed."""
SPARE_SECONDS = 60.0
"""How often the server checks whether `audit.heads` has too many lines."""
FIRST_PAUSE_SECONDS = 0.5
"""When the background work of an installation begins that has just been emptied. Suites empty it
for each test, and most tests end before."""
LEASE_CHECK_SECONDS = 1.0
"""How often the server looks for expired leases; a claim looks too."""

_TWINS_TOLD = 20
"""The most pairs of projects with one repository that a log line names; `verify` names all."""


class Runtime:
    """A running installation: the open database and the service over it."""

    def __init__(
        self,
        settings: Configuration,
        manager: DatabaseManager,
        keyring: Keyring,
        service: DatabaseService,
    ) -> None:
        self.settings = settings
        self.manager = manager
        self.keyring = keyring
        self.service = service
        self.background = BackgroundWork()
        self.rotation = RotationRunner(service.rotation)
        self.backups = BackupRunner(
            service.backups, ServerBackups(manager, keyring, DataDirectory(settings.data_dir))
        )
        self.heads = HeadsExport(DataDirectory(settings.data_dir).audit_heads, service.audit)
        self.own_logs = OwnLogs(service.logs.append_own)
        self.log_indexer = LogIndexer(service.log_indexing)
        self.project_indexer = SearchIndexer(service.project_index, "projects")
        self.run_indexer = SearchIndexer(service.run_index, "runs")
        self.pruner = Pruner(service.retention, retention_limits(settings))
        self.first_token: Path | None = None
        """The path of the admin token if this start created it; otherwise `None`."""

    @classmethod
    async def start(
        cls,
        settings: Configuration,
        *,
        manager: DatabaseManager | None = None,
        issue_first_token: bool = True,
        clock: Clock = utc_now,
    ) -> Self:
        """Check the keys, migrate, and open the pool. Returns a runtime that is ready to use.

        Without `issue_first_token` the first token is left to a later start. Raises `StartRefused`
        and `DatabaseError`; then nothing stays open or locked, and the schema is unchanged unless
        the keys were right.
        """
        directory = DataDirectory(settings.data_dir)
        manager = manager or DatabaseManager(connection_config(settings))
        try:
            directory.require_kinds()
            if issue_first_token and not directory.database.exists():
                # Checked before anything is created that would be left behind.
                directory.require_not_lost(settings.master_keys_file)
            keyring, _ = _prepare(settings, manager)
            await manager.open()
            service = await _open_service(manager, keyring, clock)
            service.kit.kept_versions = KeptVersions(
                settings.keep_configuration_versions or None, settings.keep_secret_versions or None
            )
            runtime = cls(settings, manager, keyring, service)
            await guard_rows(service, directory)
            await service.log_indexing.look()
            if issue_first_token and await service.tokens.create_first(
                lambda token: _keep_first_token(directory.admin_token, token)
            ):
                runtime.first_token = directory.admin_token
            await runtime._look_for_audit_loss()
            await runtime._tell_twins()
            logger.info("database open", path=str(directory.database), sqlite=sqlite_version())
            return runtime
        except BaseException:
            await manager.close()
            raise

    def start_background_work(self, *, is_new: bool = False) -> None:
        """Start the background jobs of a server; commands do not need them. In an installation that
        `is_new` there is nothing to do yet, so they begin a moment later."""
        if is_new:
            self.background.first_pause = FIRST_PAUSE_SECONDS
        look_at_files = self.manager.async_pool.look_at_files
        self.background.every(FILES_CHECK_SECONDS, "files of the database", look_at_files)
        self.service.claims.presence.begin(is_new=is_new)
        self.background.every(TICK_SECONDS, "presence", self.service.claims.note_presence)
        self.background.every(LEASE_CHECK_SECONDS, "leases", self.service.claims.check_leases)
        self.background.every(HEADS_SECONDS, "audit heads", self.heads.export)
        self.background.every(SPARE_SECONDS, "lines of audit.heads", self.heads.spare)
        self.background.every(ROTATION_CHECK_SECONDS, "key rotation", self.rotation.resume)
        self.background.every(TOKEN_USES_SECONDS, "token uses", self.service.tokens.store_uses)
        self.background.every(
            UNKNOWN_TOKENS_SECONDS, "unknown tokens", self.service.unknown_tokens.record
        )
        self.background.every(SEARCH_INDEX_SECONDS, "project index", self.project_indexer.run)
        self.background.every(SEARCH_INDEX_SECONDS, "run index", self.run_indexer.run)
        self.background.every(
            EXPIRED_SESSIONS_SECONDS, "expired sessions", self.service.sessions.remove_expired
        )
        self.own_logs.begin()
        self.background.every(RETENTION_SECONDS, "retention", self.pruner.wake)
        self.background.every(LOG_WORDS_SECONDS, "words of logs", self.log_indexer.run)
        self.background.every(OWN_LOGS_SECONDS, "own logs", self.own_logs.store_waiting)

    async def catch_up(self) -> None:
        """Do what is due by the clock, and usually done within seconds or minutes: take back runs
        whose lease has expired, and remove what is kept no longer. Raises `DatabaseError`."""
        await self.service.claims.check_leases()
        await self.service.sessions.remove_expired()
        await self.pruner.wake()

    async def end_work(self) -> None:
        """Let running background work finish, and begin no more. The database stays open."""
        # These stop first, because the background work waits for what they have begun.
        self.project_indexer.stop()
        self.run_indexer.stop()
        await self.pruner.stop()
        await self.log_indexer.stop()
        await self.background.stop()
        await self.rotation.stop()
        await self.backups.stop()

    async def stop(self) -> None:
        """Let running work finish and close everything."""
        await self.end_work()
        for last_step in (
            self.service.tokens.store_uses,
            self.service.unknown_tokens.record,
            self.heads.export,
            self.own_logs.store_waiting,
        ):
            try:
                await last_step()
            except (DatabaseError, OSError) as error:
                logger.warning(
                    "a step of the shutdown failed", step=last_step.__name__, cause=str(error)
                )
        self.own_logs.end()
        await self.manager.close()
        self.heads.close()

    async def _look_for_audit_loss(self) -> None:
        try:
            await self.heads.compare()
        except OSError as error:
            raise StartRefused(f"{self.heads.path} can't be read ({error.strerror})") from None

    async def _tell_twins(self) -> None:
        twins = await self.service.projects.twins()
        if twins:
            logger.warning(
                "projects have the same repository, written in two forms of Unicode: rename or "
                "delete one of each pair",
                pairs=len(twins),
                first_pairs=twins[:_TWINS_TOLD],
            )


def _keep_first_token(path: Path, token: str) -> None:
    if _is_of_a_start_cut_short(path):
        path.unlink()
    make_private(path, token + "\n")


def _is_of_a_start_cut_short(path: Path) -> bool:
    """Whether an interrupted first start left this file before its token was stored. The token in
    the file is then invalid."""
    try:
        status = path.lstat()
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not is_ours or stat.S_IMODE(status.st_mode) & 0o077:
            return False
        return parse_token(path.read_text(encoding="utf-8", errors="replace").strip()) is not None
    except OSError:
        return False


def migrate_installation(settings: Configuration) -> list[str]:
    """Check the keys and apply the pending migrations. Returns their names in order.

    Raises the errors of `Runtime.start`. Must be called outside of an event loop.
    """
    manager = DatabaseManager(connection_config(settings))
    try:
        keyring, applied = _prepare(settings, manager)
        if guarding_is_due(manager):
            asyncio.run(_open_and_guard(settings, manager, keyring))
        return applied
    finally:
        asyncio.run(manager.close())


async def _open_and_guard(
    settings: Configuration, manager: DatabaseManager, keyring: Keyring
) -> None:
    await manager.open()
    try:
        service = await _open_service(manager, keyring, utc_now)
        await guard_rows(service, DataDirectory(settings.data_dir))
    finally:
        await manager.close()


def _prepare(settings: Configuration, manager: DatabaseManager) -> tuple[Keyring, list[str]]:
    """Lock, check schema and keys, and migrate. Returns the keyring and the applied migrations."""
    directory = DataDirectory(settings.data_dir)
    directory.make()
    directory.check_owner(strict=settings.is_production)
    require_access(directory, writing=True)
    manager.process_lock.acquire()
    directory.require_whole(settings.master_keys_file)
    look_at_log(manager)
    require_whole_file(manager)
    require_tables(manager)
    require_own_schema(manager)
    keyring = load_keyring(settings, manager)
    check_keys(manager, keyring)
    applied = initialize_database(manager)
    try_write(manager)
    if applied:
        logger.info("migrations applied", migrations=applied)
    return keyring, applied


class Installer(UnitsOfWork):
    """The unit of work that a start runs before there is a service."""

    @unit_of_work
    async def install(self, vault: Vault, keyring: Keyring) -> Installation:
        """The installation, created now if the database is new. Adds a canary for each new key."""
        async with self.transaction() as repositories:
            known = await repositories.keys.canaries()
            for key_id in keyring.ids():
                if key_id not in known:
                    await repositories.keys.add_canary(key_id, vault.canary(key_id))
            installation = await repositories.keys.installation()
            if installation is None:
                installation = Installation(vault.installation_id, vault.new_installation_key())
                await repositories.keys.install(installation, vault.current_master_key_id)
            return installation


async def _open_service(
    manager: DatabaseManager, keyring: Keyring, clock: Clock
) -> DatabaseService:
    records = read_key_records(manager)
    installation_id = records.installation_id if records is not None else os.urandom(16).hex()
    vault = Vault(keyring, installation_id)
    installation = await Installer(manager).install(vault, keyring)
    try:
        root = vault.installation_key(installation.wrapped_key)
    except SecretUnreadable:
        raise StartRefused(
            "the installation's own key can't be decrypted, so the database was changed outside "
            "the service: restore a backup"
        ) from None
    return DatabaseService(Kit(manager, vault, ServiceKeys.derived_from(root), clock=clock))
