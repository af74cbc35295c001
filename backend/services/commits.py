"""Tells of commits to those who wait for changes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from backend.repositories.audit_repository import AuditRow
from backend.services.kinds import Kind
from backend.services.recording import Recorder
from database.changes import Change, ChangeCounter, HeardVersion, any_change


class Unrecorded(StrEnum):
    """Changes that have no entry in the record."""

    LOGS = "logs"
    """Logs were stored or removed."""
    VERSIONS = "versions"
    """Earlier versions of configurations or secrets were removed."""
    RETENTION = "retention"
    """Other rows were removed for their age or number."""
    BACKUPS = "backups"
    """A backup was published, after its entry."""


_CHANGES: Mapping[Unrecorded, Collection[Change]] = {
    Unrecorded.LOGS: any_change("system_logs"),
    Unrecorded.VERSIONS: [("configuration_versions", "delete"), ("secret_versions", "delete")],
    Unrecorded.RETENTION: [
        ("agent_runs", "delete"),
        ("webhook_deliveries", "delete"),
        ("audit_entries", "delete"),
    ],
}


class Recorded(NamedTuple):
    """A change that has an entry in the record."""

    kind: Kind | None
    """`None` for a kind of another version of the service."""
    target: str
    project_id: int | None


Told = Sequence[tuple[Any, ...]] | Unrecorded
"""What `Commits.changes` makes changes of."""

_KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}


class Commits:
    """The commits of one installation, for one listener."""

    def __init__(self, recorder: Recorder, versions: ChangeCounter) -> None:
        self._recorder = recorder
        self._heard: Callable[[Told], None] | None = None
        self._versions = {unrecorded: HeardVersion() for unrecorded in _CHANGES}
        for unrecorded, version in self._versions.items():
            versions.counting(_CHANGES[unrecorded], version)

    @property
    def is_heard(self) -> bool:
        """Whether somebody listens."""
        return self._heard is not None

    def listen(self, heard: Callable[[Told], None] | None) -> None:
        """Call `heard` after each commit, on the thread that commits, before anybody is told that
        it succeeded; or call it no more. It may be called for commits without effect, too."""
        others = tuple(one for one in self._recorder.heard if one != self._heard)
        self._recorder.heard = (*others, heard) if heard is not None else others
        self._heard = heard
        for unrecorded, version in self._versions.items():
            version.heard = partial(heard, unrecorded) if heard is not None else None

    def tell(self, change: Unrecorded) -> None:
        """Tell the listener of a change that no commit has made."""
        if self._heard is not None:
            self._heard(change)

    @staticmethod
    def changes(told: Told) -> Sequence[Recorded] | Unrecorded:
        """The changes of a commit that `heard` was told of."""
        if isinstance(told, Unrecorded):
            return told
        rows = map(AuditRow._make, told)
        return [Recorded(_KINDS.get(row.action), row.target, row.project_id) for row in rows]
