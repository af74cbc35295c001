"""Requests with a token that is not valid: counted, and summarised in the audit once a minute."""

from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.kinds import Kind
from backend.services.recording import AuditEvent


class UnknownTokens(UseCases):
    """Counts such requests. Strangers cause them, so each of them alone is no entry."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.refused = 0
        """Requests that were refused since the start."""
        self._recorded = 0
        self._addresses: set[str | None] = set()
        """Addresses of those that are not recorded yet, but at most a few."""

    def count(self, address: str | None) -> None:
        """Count a request from this address."""
        self.refused += 1
        if len(self._addresses) < 2:
            self._addresses.add(address)

    async def record(self) -> None:
        """Record that there were such requests since the last call, if there were any. The entry
        names their address if all came from one. To be called once a minute. Raises
        `DatabaseError`; the next call then records them."""
        refused, addresses = self.refused, self._addresses
        if refused == self._recorded:
            return
        # Requests from now on are for the next entry.
        self._addresses = set()
        try:
            await self._record(next(iter(addresses)) if len(addresses) == 1 else None)
        except BaseException:
            self._addresses |= addresses
            raise
        self._recorded = refused

    @unit_of_work
    async def _record(self, address: str | None) -> None:
        event = AuditEvent(Kind.TOKEN_UNKNOWN_REFUSED, "tokens", address=address)
        async with self.transaction() as repositories:
            await self.kit.audit.record_all(repositories, [event])
