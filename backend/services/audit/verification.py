"""Verifying the audit: every row is unchanged and in its place, and no row is missing."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.repositories.audit_repository import (
    AuditRow,
    StoredAuditRow,
    read_audit_ids,
    read_audit_macs,
    read_audit_rows,
)
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError

_CHUNK = 500


class ExportedHead(NamedTuple):
    """The end of the chain, as it was exported out of the database."""

    id: int
    mac: str
    at: str
    """When it was exported."""


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """The first fault of the audit."""

    entry_id: int
    what: str
    """One sentence without a full stop."""

    def __str__(self) -> str:
        return self.what


def verify_audit(
    db_manager: DatabaseManager, chain: AuditChain, heads: Iterable[ExportedHead] = ()
) -> AuditProblem | None:
    """The first entry that was changed, removed or moved, or that an exported head proves missing;
    `None` when the audit is whole.

    Reads the whole audit in small steps, so that no snapshot prevents the truncation of the
    write-ahead log. Raises `DatabaseError` when the audit can't be read.
    """
    check = _ChainCheck(chain)
    while rows := _read_on(db_manager, check):
        for stored in rows:
            problem = check.problem(stored)
            if problem is not None:
                return problem
    return check.unreadable or _heads_problem(db_manager, heads, check.last_id)


def tail_problem(head: ExportedHead, found: str | None, last_id: int) -> AuditProblem | None:
    """The problem that `head` proves; `None` if there is none. `found` is the MAC of its entry
    now, `None` when there is no such entry, and `last_id` is the id of the newest entry."""
    if found is None and head.id > last_id:
        many = f"entries {last_id + 1} to {head.id} are" if head.id > last_id + 1 else None
        return AuditProblem(
            last_id + 1,
            f"audit {many or f'entry {head.id} is'} missing at the end: entry {head.id} existed "
            f"at {head.at}",
        )
    if found is None:
        return AuditProblem(head.id, f"audit entry {head.id} is missing: it was removed")
    if found != head.mac:
        return AuditProblem(
            head.id,
            f"audit entry {head.id} is not the one recorded at {head.at}: an older copy of the "
            "database was in use since then",
        )
    return None


class _ChainCheck:
    """Follows the chain from its first row."""

    def __init__(self, chain: AuditChain) -> None:
        self.last_id = 0
        self.unreadable: AuditProblem | None = None
        self._chain = chain
        self._previous = ORIGIN
        self._may_be_earlier = True
        """Whether the next row may have the earlier format: no row before it has the present
        one."""

    def problem(self, stored: StoredAuditRow) -> AuditProblem | None:
        """What is wrong with the next row; `None` if nothing is."""
        row, mac = stored
        expected = self.last_id + 1
        if row.id != expected:
            return AuditProblem(
                expected,
                f"audit entry {expected} is missing: it was removed or renumbered",
            )
        if not self._fits(row, mac):
            return AuditProblem(
                row.id,
                f"audit entry {row.id} is not as it was written: it was changed or moved, or the "
                "entry before it was removed",
            )
        self.last_id, self._previous = row.id, mac
        return None

    def _fits(self, row: AuditRow, mac: str) -> bool:
        if self._may_be_earlier:
            if self._chain.earlier_mac(self._previous, row) == mac:
                return True
            self._may_be_earlier = False
        return self._chain.mac(self._previous, row) == mac


def _read_on(db_manager: DatabaseManager, check: _ChainCheck) -> list[StoredAuditRow]:
    """The next rows; an empty list at the end, and before a row that can't be read."""
    # The first read also finds forged rows with ids of 0 and below.
    after = check.last_id or -(2**63)
    try:
        return read_audit_rows(db_manager, after, _CHUNK)
    except DatabaseError:
        # Malformed text or a damaged page. The rows before it can still be verified.
        rows: list[StoredAuditRow] = []
        for id in read_audit_ids(db_manager, after, _CHUNK):
            try:
                rows += read_audit_rows(db_manager, id - 1, 1)
            except DatabaseError:
                check.unreadable = AuditProblem(id, f"audit entry {id} can't be read")
                break
        return rows


def _heads_problem(
    db_manager: DatabaseManager, heads: Iterable[ExportedHead], last_id: int
) -> AuditProblem | None:
    first: AuditProblem | None = None
    remaining = iter(heads)
    while chunk := list(islice(remaining, _CHUNK)):
        found = read_audit_macs(db_manager, [head.id for head in chunk])
        for head in chunk:
            problem = tail_problem(head, found.get(head.id), last_id)
            # Of several heads that report the same entry, the last one covers the most entries.
            if problem is not None and (first is None or problem.entry_id <= first.entry_id):
                first = problem
    return first
