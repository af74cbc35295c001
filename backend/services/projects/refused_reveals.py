"""The audit's entries for reveals that were refused to the holder of a valid token."""

from backend.services.base import Kit, UseCases
from backend.services.kinds import Kind
from backend.services.principal import Principal, acting_as
from backend.services.projects.secret_sealing import secret_target, secrets_target
from backend.services.recording import AuditEvent

MOST_A_MINUTE = 30
"""The most entries of one token in a minute, so that its holder can't fill the audit."""


class RefusedReveals(UseCases):
    """Records each token and secret once a minute, and counts all."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.refused = 0
        """Reveals that were refused to valid tokens since the start."""
        self._minute = 0
        self._recorded: dict[int | None, set[str]] = {}
        """The targets recorded in this minute, by token."""

    async def record(self, principal: Principal, project_id: int, key: str | None) -> None:
        """Record that `principal` was refused the value of a secret, existing or not, or without
        a key the values of several. Returns once that is durable. Raises `DatabaseError`; the next
        refusal is then recorded."""
        self.refused += 1
        target = secrets_target(project_id) if key is None else secret_target(project_id, key)
        recorded = self._recorded_by(principal)
        if target in recorded or len(recorded) >= MOST_A_MINUTE:
            return
        recorded.add(target)
        event = AuditEvent(Kind.SECRET_REVEAL_REFUSED, target, project_id)
        try:
            with acting_as(principal):
                await self.kit.audit.record_all(self.repositories, [event])
        except BaseException:
            recorded.discard(target)
            raise

    def _recorded_by(self, principal: Principal) -> set[str]:
        minute = int(self.kit.now().timestamp() // 60)
        if minute != self._minute:
            self._minute = minute
            self._recorded.clear()
        return self._recorded.setdefault(principal.token_id, set())
