"""Following the audit's chain: every row is unchanged and in its place, and no row is missing."""

from dataclasses import dataclass

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.repositories.audit_repository import AuditAnchor, AuditRow, LinkedAuditRow


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """The first fault of the audit."""

    entry_id: int
    what: str
    """One sentence without a full stop."""

    def __str__(self) -> str:
        return self.what


class ChainCheck:
    """Follows the chain from its first row, or from the one after the anchor."""

    def __init__(self, chain: AuditChain) -> None:
        self.last_id = 0
        """The id of the last row that was right, or of the anchor."""
        self._chain = chain
        self._previous = ORIGIN
        self._may_be_earlier = True
        """Whether the next row may have the earlier format: no row before it has the present
        one."""

    def begin_at(self, anchor: AuditAnchor) -> None:
        """Go on after the anchor."""
        self.last_id, self._previous = anchor.last_id, anchor.last_mac

    def problem(self, linked: LinkedAuditRow) -> AuditProblem | None:
        """What is wrong with the next row; `None` if nothing is."""
        row, mac, previous_mac = linked
        expected = self.last_id + 1
        if row.id != expected:
            return AuditProblem(
                expected,
                f"audit entry {expected} is missing: it was removed or renumbered",
            )
        if previous_mac is not None or not self._fits(row, mac):
            return _changed(row.id)
        self.last_id, self._previous = row.id, mac
        return None

    def link_problem(self, linked: LinkedAuditRow) -> AuditProblem | None:
        """What is wrong with a row apart from the others, given its predecessor's MAC; `None` if
        nothing is. It has the present format: no other row is kept up to the anchor."""
        row, mac, previous_mac = linked
        if previous_mac is None and row.id == 1:
            previous_mac = ORIGIN
        if previous_mac is None or self._chain.mac(previous_mac, row) != mac:
            return _changed(row.id)
        return None

    def _fits(self, row: AuditRow, mac: str) -> bool:
        if self._may_be_earlier:
            if self._chain.earlier_mac(self._previous, row) == mac:
                return True
            self._may_be_earlier = False
        return self._chain.mac(self._previous, row) == mac


def _changed(id: int) -> AuditProblem:
    return AuditProblem(
        id,
        f"audit entry {id} is not as it was written: it was changed or moved, or the entry before "
        "it was removed",
    )
