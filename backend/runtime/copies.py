"""Checks that a copy of a database is complete, and fits this program and the master keys."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from backend.crypto.audit_chain import AuditChain
from backend.crypto.keyring import Keyring
from backend.crypto.service_keys import ServiceKeys
from backend.crypto.vault import Vault
from backend.errors import SecretUnreadable
from backend.repositories.keys_repository import read_key_records
from backend.runtime.keys import check_keys
from backend.services.audit.verification import ExportedHead, verify_audit
from backend.services.operations.work_progress import WorkProgress
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError
from database.migrator import load_migrations, pending
from database.sqlite.backup import looking_at, row_counts
from database.sqlite.check_progress import nothing_told
from database.sqlite.integrity import file_problem, foreign_object, reference_problem

_AUDIT = "audit_entries"


class BadCopy(DatabaseError):
    """The copy is damaged or incomplete. The message is one line that says what is wrong."""


@dataclass(frozen=True, slots=True)
class CheckedCopy:
    """The contents of a verified copy."""

    schema_version: int
    """The number of the newest migration in the backup."""
    rows: dict[str, int]
    """The number of rows by table."""
    master_keys: tuple[str, ...]
    """The ids of the master keys that are needed to read the copy."""
    audit_entries: int
    """The number of entries in the audit's chain."""


def check_copy(
    file: Path,
    keyring: Keyring,
    heads: Iterable[ExportedHead] = (),
    progress: WorkProgress | None = None,
) -> CheckedCopy:
    """Check the whole copy and return its contents.

    Schema and keys are checked first. `progress` is told how far it is. Raises `BadCopy` for the
    first fault, `StartRefused` when a master key is missing or wrong, `MigrationError` when the
    copy is from another program or a newer version, and `DatabaseError` when the copy can't be
    read.
    """
    manager = DatabaseManager(looking_at(file))
    try:
        with manager.sync_pool.connection() as connection:
            schema_version = len(load_migrations()) - len(pending(connection))
            foreign = foreign_object(connection)
        if foreign is not None:
            raise BadCopy(
                f"{foreign}, so it was changed outside the service: undo the change, or use "
                "another backup"
            )
        records = read_key_records(manager)
        if records is None:
            raise BadCopy("it holds no installation: this database has not been used yet")
        check_keys(manager, keyring)
        with manager.sync_pool.connection() as connection:
            told = progress.of("checking the file") if progress is not None else nothing_told
            problem = file_problem(connection, told) or reference_problem(connection)
            if problem is not None:
                raise BadCopy(problem)
            rows = row_counts(connection)
        vault = Vault(keyring, records.installation_id)
        if _AUDIT in rows:
            _check_audit(manager, vault, records.wrapped_key, heads, _told(progress, rows[_AUDIT]))
        return CheckedCopy(schema_version, rows, tuple(sorted(records.in_use)), rows.get(_AUDIT, 0))
    finally:
        manager.sync_pool.close()


def _told(progress: WorkProgress | None, entries: int) -> Callable[[int], None]:
    """Tells how many entries of the audit are checked."""

    def tell(checked: int) -> None:
        if progress is not None:
            progress.tell("checking the audit", checked / max(1, entries))

    return tell


def _check_audit(
    manager: DatabaseManager,
    vault: Vault,
    wrapped_key: str,
    heads: Iterable[ExportedHead],
    on_checked: Callable[[int], None],
) -> None:
    try:
        root = vault.installation_key(wrapped_key)
    except SecretUnreadable:
        raise BadCopy("the installation's own key can't be decrypted") from None
    chain = AuditChain(ServiceKeys.derived_from(root).audit_chain)
    problem = verify_audit(manager, chain, heads, on_checked=on_checked)
    if problem is not None:
        raise BadCopy(str(problem))
