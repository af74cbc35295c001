"""Verifying the audit: every row is unchanged and in its place, and no row is missing but those
that were removed for their age."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from backend.crypto.audit_chain import AuditChain
from backend.repositories.audit_reading import AuditReader
from backend.repositories.audit_repository import AuditAnchor, LinkedAuditRow
from backend.services.chain_check import AuditProblem, ChainCheck
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError

_CHUNK = 2000
_HEADS = 500


class ExportedHead(NamedTuple):
    """The end of the chain, as it was exported out of the database."""

    id: int
    mac: str
    at: str
    """When it was exported."""


def verify_audit(
    db_manager: DatabaseManager,
    chain: AuditChain,
    heads: Iterable[ExportedHead] = (),
    *,
    on_checked: Callable[[int], None] = lambda _: None,
) -> AuditProblem | None:
    """The first entry that was changed, removed or moved, or that an exported head proves missing;
    `None` when the audit is whole.

    Reads the whole audit in small steps, so that no snapshot prevents the truncation of the
    write-ahead log. Entries may be added, and removed for their age, meanwhile. `on_checked`
    receives the number of checked entries after each step. Raises `DatabaseError` when the audit
    can't be read.
    """
    return _Verification(AuditReader(db_manager), chain, on_checked).problem(heads)


def tail_problem(
    head: ExportedHead, found: str | None, last_id: int, anchor: AuditAnchor | None
) -> AuditProblem | None:
    """The problem that `head` proves; `None` if there is none. `found` is the MAC of its entry
    now, `None` when there is no such entry, and `last_id` is the id of the newest entry. `anchor`
    was read after them."""
    if found is None and anchor is not None and head.id <= anchor.last_id:
        return None
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


class _Verification:
    """One pass over the whole audit."""

    def __init__(
        self, reader: AuditReader, chain: AuditChain, on_checked: Callable[[int], None]
    ) -> None:
        self._reader = reader
        self._chain = chain
        self._check = ChainCheck(chain)
        self._on_checked = on_checked
        self._checked = 0

    def problem(self, heads: Iterable[ExportedHead]) -> AuditProblem | None:
        """The first problem; `None` when there is none."""
        begun = _AnchorCheck(self._chain, self._check, self._reader)
        if begun.anchor is not None:
            self._check.begin_at(begun.anchor)
            self._count(begun.rows)
        problem = begun.problem() or self._chain_problem()
        if problem is None and self._reader.anchor() != begun.anchor:
            # It has moved meanwhile, so that other entries stay up to it.
            begun = _AnchorCheck(self._chain, self._check, self._reader)
            problem = begun.problem()
        return problem or self._heads_problem(heads) or self._end_problem(begun.anchor)

    def _chain_problem(self) -> AuditProblem | None:
        """What is wrong with the entries after the anchor."""
        while True:
            # The first read also finds forged rows with ids of 0 and below.
            rows, unreadable = _read_on(self._reader, self._check.last_id or -(2**63))
            problem = next(filter(None, map(self._entry_problem, rows)), unreadable)
            if problem is None and not rows:
                return None
            if problem is not None and not self._has_moved():
                return problem
            self._count(len(rows))

    def _entry_problem(self, linked: LinkedAuditRow) -> AuditProblem | None:
        problem = self._check.problem(linked)
        if problem is not None and linked.previous_mac is not None and not self._reader.anchor():
            return AuditProblem(
                linked.row.id,
                "the anchor of the audit is missing, although entries were removed for their age: "
                "it was removed",
            )
        return problem

    def _has_moved(self) -> bool:
        """Whether a removal has passed the next entry meanwhile; it has checked what it passed."""
        anchor = self._reader.anchor()
        if anchor is None or anchor.last_id <= self._check.last_id:
            return False
        self._check.begin_at(anchor)
        return True

    def _heads_problem(self, heads: Iterable[ExportedHead]) -> AuditProblem | None:
        first: AuditProblem | None = None
        remaining = iter(heads)
        while chunk := list(islice(remaining, _HEADS)):
            found = self._reader.macs([head.id for head in chunk])
            anchor = self._reader.anchor()
            for head in chunk:
                problem = tail_problem(head, found.get(head.id), self._check.last_id, anchor)
                # Of several heads that report the same entry, the last one covers the most entries.
                if problem is not None and (first is None or problem.entry_id <= first.entry_id):
                    first = problem
        return first

    def _end_problem(self, anchor: AuditAnchor | None) -> AuditProblem | None:
        if anchor is None or self._check.last_id > anchor.last_id:
            return None
        return AuditProblem(
            anchor.last_id + 1,
            f"audit entry {anchor.last_id + 1} is missing at the end: the newest entry is never "
            "removed for its age",
        )

    def _count(self, rows: int) -> None:
        self._checked += rows
        self._on_checked(self._checked)


class _AnchorCheck:
    """The anchor, and the entries up to it that have stayed, as they are at one moment."""

    def __init__(self, chain: AuditChain, check: ChainCheck, reader: AuditReader) -> None:
        self.anchor: AuditAnchor | None = None
        self.rows = 0
        """The number of entries up to the anchor."""
        self._chain = chain
        self._check = check
        self._shares = 0
        self._unlinked: AuditProblem | None = None
        self._problem: AuditProblem | None = None
        if reader.anchor() is not None:
            try:
                reader.each_kept(self._takes)
            except DatabaseError:
                self._problem = _first_unreadable(reader)

    def problem(self) -> AuditProblem | None:
        """The first problem; `None` when there is none, or no anchor."""
        if self._problem is not None or self.anchor is None:
            return self._problem
        last_id, kept = self.anchor.last_id, self.anchor.kept
        if self.rows != kept:
            return AuditProblem(
                last_id,
                f"the audit has {self.rows} entries up to entry {last_id}, but its anchor says "
                f"{kept}: entries were removed or added, or the anchor was changed",
            )
        if self._unlinked is None and not self._chain.covers(self.anchor, self._shares):
            return AuditProblem(
                last_id,
                f"the audit's anchor at entry {last_id} is not as it was written: it was changed, "
                "or an entry up to it was replaced",
            )
        return self._unlinked

    def _takes(self, anchor: AuditAnchor, linked: LinkedAuditRow | None) -> bool:
        self.anchor = anchor
        if linked is None:
            return True
        self.rows += 1
        self._shares += self._chain.share(linked.mac)
        problem = self._check.link_problem(linked)
        if linked.previous_mac is None:
            # If the anchor was moved, this is not the entry's fault: the number shows it.
            self._unlinked = self._unlinked or problem
            return True
        self._problem = problem
        return problem is None


def _read_on(reader: AuditReader, after: int) -> tuple[list[LinkedAuditRow], AuditProblem | None]:
    """The next rows, none at the end; up to a row that can't be read, which is the problem."""
    try:
        return reader.rows(after, _CHUNK), None
    except DatabaseError:
        # Malformed text or a damaged page. The rows before it can still be verified.
        rows: list[LinkedAuditRow] = []
        for id in reader.ids(after, _CHUNK):
            try:
                rows += reader.rows(id - 1, 1)
            except DatabaseError:
                return rows, AuditProblem(id, f"audit entry {id} can't be read")
        return rows, None


def _first_unreadable(reader: AuditReader) -> AuditProblem | None:
    after = -(2**63)
    while True:
        rows, unreadable = _read_on(reader, after)
        if unreadable is not None or not rows:
            return unreadable
        after = rows[-1].row.id
