"""Tells whether guarded rows are as the record left them."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache

from backend.crypto.row_digests import RowDigests
from backend.errors import ChangedOutside
from backend.repositories import Repositories
from backend.repositories.audit_repository import UnnumberedRow
from backend.repositories.guarded_kinds import CONFIGURATIONS, PROJECTS, SECRETS, GuardedKind
from backend.repositories.guarded_rows import NewestEntry, RecordedRow, signed_values
from backend.repositories.version_rows import (
    SECRET_VERSIONS,
    VersionKind,
    VersionRow,
    signed_version,
)
from database.engine import Value
from models import ProjectSettings


class Forgery(StrEnum):
    """How a row differs from the record."""

    CHANGED = "changed"
    """It is not as its newest entry left it."""
    INSERTED = "inserted"
    """No entry tells of it."""
    PUT_BACK = "put back"
    """It was deleted, or its project was purged."""


class Guard:
    """Compares guarded rows with their newest entries in the record."""

    def __init__(self, digests: RowDigests) -> None:
        self.digests = digests
        # Of a project's entry it is asked for each thing in the project, with the same result.
        self._is_tombstone = lru_cache(maxsize=4096)(self._computed_tombstone)

    def forgery(self, kind: GuardedKind, row: RecordedRow) -> Forgery | None:
        """How the row differs from the record; `None` for a genuine row."""
        entry = row.entry
        if entry is None:
            return Forgery.INSERTED
        if (
            row.project_target is not None
            and row.project_entry is not None
            and self.is_tombstone(PROJECTS, row.project_target, row.project_entry)
        ):
            return Forgery.PUT_BACK
        values = signed_values(kind, row.values)
        fitting = self.digests.of(kind.table, entry.id, row.target, entry.version, values)
        if fitting == entry.digest:
            return None
        is_deleted = self.is_tombstone(kind, row.target, entry)
        return Forgery.PUT_BACK if is_deleted else Forgery.CHANGED

    def is_tombstone(self, kind: GuardedKind, target: str, entry: NewestEntry) -> bool:
        """Whether the entry tells that the row was deleted."""
        return self._is_tombstone(kind.table, target, entry)

    def _computed_tombstone(self, table: str, target: str, entry: NewestEntry) -> bool:
        return entry.digest == self.digests.of(table, entry.id, target, entry.version, None)

    def is_genuine_row(
        self, repositories: Repositories, kind: GuardedKind, row: RecordedRow
    ) -> bool:
        """Whether the row is as the record left it, or as the transaction did."""
        return self.forgery(kind, row) is None or row.id in _changed_here(repositories, kind)

    async def is_genuine(self, repositories: Repositories, kind: GuardedKind, id: int) -> bool:
        """Whether the row with this id is as the record left it. True without such a row."""
        return not await self.forged(repositories, kind, [id])

    async def forged(
        self, repositories: Repositories, kind: GuardedKind, ids: Sequence[int]
    ) -> dict[int, Forgery]:
        """The rows of these ids that differ from the record, by id."""
        rows = await repositories.guarded_rows.recorded(kind, ids)
        found = {row.id: forgery for row in rows if (forgery := self.forgery(kind, row))}
        if found:
            # The transaction has changed these rows itself; their entries follow at its end.
            for id in found.keys() & _changed_here(repositories, kind):
                del found[id]
        return found

    async def require(self, repositories: Repositories, kind: GuardedKind, id: int) -> None:
        """Raises `ChangedOutside` unless the row with this id is genuine or missing."""
        if not await self.is_genuine(repositories, kind, id):
            raise ChangedOutside(kind.name)

    async def must_exist(
        self,
        repositories: Repositories,
        kind: GuardedKind,
        target: str,
        project_id: int | None = None,
    ) -> bool:
        """Whether the record tells that a row exists, which belongs to this project if one is
        given. If it does not exist, it was deleted outside the service."""
        if any(
            waiting.target == target and waiting.row for waiting in repositories.audit.waiting()
        ):
            # The transaction has deleted it itself.
            return False
        entry = await repositories.guarded_rows.newest(target)
        if entry is None or self.is_tombstone(kind, target, entry):
            return False
        if project_id is None:
            return True
        # What belongs to a purged project went with it, without entries.
        of_project = project_target(project_id)
        project = await repositories.guarded_rows.newest(of_project)
        return project is None or not self.is_tombstone(PROJECTS, of_project, project)

    async def configuration(
        self, repositories: Repositories, project_id: int
    ) -> ProjectSettings | None:
        """The project's settings; `None` when it has the defaults. Raises `ChangedOutside` when
        they are not as the record left them."""
        settings = await repositories.settings.get_by_project_id(project_id)
        if settings is not None:
            await self.require(repositories, CONFIGURATIONS, settings.id)
        elif await self._misses_configuration(repositories, project_id):
            raise ChangedOutside(CONFIGURATIONS.name)
        return settings

    async def _misses_configuration(self, repositories: Repositories, project_id: int) -> bool:
        target = configuration_target(project_id)
        return await self.must_exist(repositories, CONFIGURATIONS, target, project_id)

    async def with_forged_configuration(
        self, repositories: Repositories, project_ids: Sequence[int]
    ) -> set[int]:
        """Those of the projects whose configuration is not as the record left it."""
        rows = await repositories.guarded_rows.recorded_of(CONFIGURATIONS, project_ids)
        of_project = {row.project_id: row for row in rows}
        changed_here = _changed_here(repositories, CONFIGURATIONS)
        found = set()
        for project_id in project_ids:
            row = of_project.get(project_id)
            if row is None:
                if await self._misses_configuration(repositories, project_id):
                    found.add(project_id)
            elif row.id not in changed_here and self.forgery(CONFIGURATIONS, row) is not None:
                found.add(project_id)
        return found

    async def last_version(self, repositories: Repositories, target: str) -> int:
        """The last version that a row of this target had; 0 without one."""
        return (await self.last_versions(repositories, [target])).get(target, 0)

    async def last_versions(
        self, repositories: Repositories, targets: Sequence[str]
    ) -> dict[str, int]:
        """The same for several targets, by target, without those that never had a row."""
        newest = await repositories.guarded_rows.newest_of(targets)
        versions = {target: entry.version or 0 for target, entry in newest.items()}
        wanted = set(targets)
        for entry in repositories.audit.waiting():
            if entry.row is not None and entry.target in wanted:
                versions[entry.target] = entry.version or 0
        return versions

    def version_mac(self, kind: VersionKind, values: Sequence[Value]) -> str:
        """The MAC of an earlier version, with the values of `kind.columns`."""
        return self.digests.of_version(kind.table, signed_version(kind, values))

    def version_macs(self, kind: VersionKind, rows: Iterable[Sequence[Value]]) -> list[str]:
        """The same for several versions."""
        return self.digests.of_versions(kind.table, (signed_version(kind, row) for row in rows))

    async def forged_versions(
        self, repositories: Repositories, kind: VersionKind, rows: Sequence[VersionRow]
    ) -> dict[int, Forgery]:
        """Those of the earlier versions that are not as the service left them, by id: they were
        changed or inserted, or put back after they were destroyed or their project was purged."""
        if not rows:
            return {}
        projects = {row.id: project_target(row.project_id) for row in rows}
        with_values = [row for row in rows if kind is SECRET_VERSIONS and row.values[-1] is None]
        newest = await repositories.guarded_rows.newest_of(
            [*dict.fromkeys(projects.values()), *(row.target for row in with_values)]
        )
        gone = {
            target
            for target, entry in newest.items()
            if self.is_tombstone(PROJECTS, target, entry)
            or self.is_tombstone(SECRETS, target, entry)
        }
        destroyed = {row.id for row in with_values if row.target in gone}
        found = {}
        for row in rows:
            if row.mac != self.version_mac(kind, row.values):
                found[row.id] = Forgery.CHANGED
            elif row.id in destroyed or projects[row.id] in gone:
                found[row.id] = Forgery.PUT_BACK
        return found


class BlindGuard(Guard):
    """Compares nothing: the guard of an installation that is read without its own key."""

    def forgery(self, kind: GuardedKind, row: RecordedRow) -> None:
        """Always `None`."""

    async def forged_versions(
        self,
        repositories: Repositories,  # noqa: ARG002
        kind: VersionKind,  # noqa: ARG002
        rows: Sequence[VersionRow],  # noqa: ARG002
    ) -> dict[int, Forgery]:
        """Always empty."""
        return {}

    async def must_exist(
        self,
        repositories: Repositories,  # noqa: ARG002
        kind: GuardedKind,  # noqa: ARG002
        target: str,  # noqa: ARG002
        project_id: int | None = None,  # noqa: ARG002
    ) -> bool:
        """Always False."""
        return False


def project_target(project_id: int | None) -> str:
    """The target of a project's own entries."""
    return f"projects/{project_id}"


def configuration_target(project_id: int) -> str:
    """The target of the entries of a project's configuration."""
    return f"projects/{project_id}/configuration"


def _changed_here(repositories: Repositories, kind: GuardedKind) -> set[int | None]:
    entries: Sequence[UnnumberedRow] = repositories.audit.waiting()
    return {entry.row.id for entry in entries if entry.row is not None and entry.row.kind is kind}
