"""Redacts what is stored: which values a project's secrets have now, and what is told of hits.

Everything here happens on the writer's thread, inside units of work.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from backend.crypto.envelope import SecretContext, StoredProjectKey
from backend.crypto.vault import Vault
from backend.errors import SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.audit_repository import UnnumberedRow
from backend.repositories.guarded_kinds import PROJECTS, SECRETS
from backend.services.committed_rows import LeftRow
from backend.services.guard import Guard
from backend.services.kinds import Kind
from backend.services.principal import SYSTEM, current_principal
from backend.services.recording import AuditEvent, Recorder, field_names
from backend.services.redaction.forms import SHORTEST
from backend.services.redaction.hits import Hits, minute_of
from backend.services.redaction.patterns import SecretPatterns
from backend.services.redaction.redaction import Redaction
from database.changes import ChangeCounter, HeardVersion, any_change

MOST_PROJECTS: Final = 4096
"""How many projects are remembered, most of which have few secrets or none."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""About how much memory the remembered projects take, unless one alone takes more."""
MOST_SECRETS: Final = 10_000
"""How many secrets of a project are looked for: the newest, which have at most `MOST_BYTES`."""
_MOST_OPEN: Final = 100
"""For how many projects patterns are remembered whose secrets the open transaction has changed."""
_MOST_TOLD: Final = 10_000
"""How many hits of a minute are remembered, so that none is told twice."""


class Redactor:
    """Finds the patterns for a project's present secrets, and remembers them as long as these stay
    the same."""

    def __init__(
        self,
        vault: Vault,
        guard: Guard,
        recorder: Recorder,
        versions: ChangeCounter,
        transaction: Callable[[], int],
    ) -> None:
        """`versions` tell of commits, and `transaction` returns the number of the writer's
        transaction."""
        self._vault = vault
        self._guard = guard
        self._recorder = recorder
        recorder.on_commit = self._follow
        self._known: OrderedDict[int, SecretPatterns] = OrderedDict()
        self._bytes = 0
        self._changed = _ChangedProjects()
        self._open: dict[int, tuple[UnnumberedRow, SecretPatterns]] = {}
        """The patterns for projects whose secrets the open transaction has changed, each with the
        entry of the last change."""
        self._hits = Hits(transaction)
        heard = HeardVersion()
        heard.heard = self._hits.commit
        versions.counting(any_change(*_TABLES), heard)
        self._minute = ""
        self._told: set[tuple[Any, ...]] = set()
        """What was told in this minute: the actor and its token, the secret and the place."""

    async def begin(self, repositories: Repositories, project_id: int) -> Redaction:
        """What redacts texts of the project in this unit of work."""
        return Redaction(await self._patterns(repositories, project_id), self._count)

    async def record(
        self, repositories: Repositories, project_id: int, keys: Collection[str], place: str
    ) -> None:
        """Record the project's secrets of these keys as leaked at this place, such as
        `agent-runs/7`. Each is recorded once a minute for the place and the principal."""
        if keys:
            at = self._recorder.time(repositories)
            self._begin_minute(at)
            targets = [f"projects/{project_id}/secrets/{key}" for key in sorted(keys)]
            events = [
                AuditEvent(Kind.SECRET_LEAKED, target, project_id, (place,))
                for target in targets
                if not self._was_told(repositories, at, target, place)
            ]
            await self._recorder.record_all(repositories, events)

    async def values(self, repositories: Repositories, project_id: int) -> dict[str, str]:
        """The present values of the project that are redacted, by key, newest first, without those
        that are unreadable or too short. Inside a transaction."""
        rows = await repositories.secrets.sealed_of(project_id, MOST_SECRETS, MOST_BYTES)
        exempt = {row.id for row in rows if row.redact is not None}
        if exempt:
            # Another program can't switch redaction off.
            exempt -= (await self._guard.forged(repositories, SECRETS, list(exempt))).keys()
        values = {}
        for row in rows:
            if row.id in exempt:
                continue
            try:
                value = self._vault.open(
                    StoredProjectKey(row.project_key_id, row.key_project_id, row.wrapped),
                    SecretContext(project_id, row.key_name, row.version),
                    row.ciphertext,
                ).get_secret_value()
            except SecretUnreadable:
                continue
            if len(value) >= SHORTEST:
                values[row.key_name] = value
        return values

    async def _patterns(self, repositories: Repositories, project_id: int) -> SecretPatterns:
        entries = repositories.audit.waiting()
        changed = self._changed.find(entries).get(project_id) if entries else None
        if changed is not None:
            # Not remembered beyond the transaction, which may be rolled back.
            found = self._open.get(project_id)
            if found is None or found[0] is not changed:
                if len(self._open) >= _MOST_OPEN:
                    self._open.clear()
                patterns = SecretPatterns(await self.values(repositories, project_id))
                found = self._open[project_id] = changed, patterns
            return found[1]
        known = self._known.get(project_id)
        if known is not None:
            self._known.move_to_end(project_id)
            return known
        patterns = SecretPatterns(await self.values(repositories, project_id))
        self._known[project_id] = patterns
        self._bytes += patterns.bytes
        while len(self._known) > MOST_PROJECTS or (
            self._bytes > MOST_BYTES and len(self._known) > 1
        ):
            self._bytes -= self._known.popitem(last=False)[1].bytes
        return patterns

    def _count(self, hits: int) -> bool:
        """Count values that were found in a text. Returns whether the token has had too many."""
        principal = current_principal()
        if principal is SYSTEM:
            return False
        return self._hits.count((principal.name, principal.token_id), self._recorder.now(), hits)

    def _begin_minute(self, at: str) -> None:
        if self._minute != minute_of(at):
            self._minute = minute_of(at)
            self._told.clear()

    def _was_told(self, repositories: Repositories, at: str, target: str, place: str) -> bool:
        principal = current_principal()
        told = principal.name, principal.token_id, target, field_names((place,))
        if told in self._told:
            return True
        return any(
            entry.action == Kind.SECRET_LEAKED
            and (entry.actor, entry.actor_token_id, entry.target, entry.fields) == told
            and minute_of(entry.at) == minute_of(at)
            for entry in repositories.audit.waiting()
        )

    def _follow(self, left: Iterable[LeftRow], rows: Sequence[tuple[Any, ...]]) -> None:
        """Note what a transaction, which is durable, has changed and told."""
        self._open.clear()
        for kind, target, values in left:
            if kind is SECRETS or (kind is PROJECTS and values is None):
                found = kind.targets.fullmatch(target)
                if found is not None:
                    self._forget(int(found[1]))
        for _, at, actor, token_id, action, target, _, fields, *_ in rows:
            if action == _LEAKED and minute_of(at) == self._minute:
                if len(self._told) >= _MOST_TOLD:
                    self._told.clear()
                self._told.add((actor, token_id, target, fields))

    def _forget(self, project_id: int) -> None:
        known = self._known.pop(project_id, None)
        if known is not None:
            self._bytes -= known.bytes


class _ChangedProjects:
    """Which projects' secrets the open transaction has changed, found among its entries. Each entry
    is looked at once, because every unit asks."""

    def __init__(self) -> None:
        self._entries: Sequence[UnnumberedRow] = ()
        self._seen = 0
        self._last: UnnumberedRow | None = None
        self._projects: dict[int, UnnumberedRow] = {}

    def find(self, entries: Sequence[UnnumberedRow]) -> dict[int, UnnumberedRow]:
        """The last entry of a change, by project."""
        seen = self._seen
        if not (
            entries is self._entries and len(entries) >= seen and entries[seen - 1] is self._last
        ):
            # Of another transaction, or the end was dropped with the unit that it was of.
            self._projects, seen = {}, 0
        for entry in entries[seen:]:
            row, project_id = entry.row, entry.project_id
            if row is None or project_id is None:
                continue
            if row.kind is SECRETS or (row.kind is PROJECTS and row.id is None):
                self._projects[project_id] = entry
        self._entries, self._seen, self._last = entries, len(entries), entries[-1]
        return self._projects


_TABLES: Final = ("system_logs", "agent_runs", "messages", "pipeline_states", "test_results")
"""The tables whose texts are redacted."""
_LEAKED: Final = Kind.SECRET_LEAKED.value
