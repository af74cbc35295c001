"""Verifying the guarded rows: each is as the record left it, and none is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.repositories import Repositories
from backend.repositories.guarded_kinds import GUARDED_KINDS, PROJECTS, GuardedKind
from backend.repositories.guarded_rows import TargetEntry
from backend.repositories.version_rows import VersionKind
from backend.services.base import UseCases, unit_of_work
from backend.services.guard import project_target

_GREATEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """The result for some rows."""

    checked: int
    problems: tuple[str, ...]
    """A clause for each row that is not as the record left it, such as `tokens/3 was inserted`."""
    last: int | None
    """Where the next page starts; `None` at the end."""


class RowVerification(UseCases):
    """Checks page by page, so that no snapshot prevents the truncation of the write-ahead log."""

    @unit_of_work(read_only=True)
    async def rows(self, kind: GuardedKind, *, after_id: int | None, limit: int) -> CheckedRows:
        """Compare up to `limit` rows after `after_id` with their newest entries. `None` stands
        before all rows: the service gives no id below 1, but the file may have one."""
        async with self.transaction() as repositories:
            rows = await repositories.guarded_rows.recorded_after(kind, after_id, limit)
            wrong_keys: set[int] = set()
            if kind is PROJECTS:
                ids = [row.id for row in rows]
                wrong_keys = await repositories.projects.with_wrong_keys(ids)
        problems = []
        for row in rows:
            forgery = self.kit.guard.forgery(kind, row)
            if forgery is not None:
                problems.append(f"{row.target} was {forgery}")
            elif row.id in wrong_keys:
                problems.append(f"{row.target} has search keys that do not fit its names")
        return CheckedRows(len(rows), tuple(problems), rows[-1].id if rows else None)

    @unit_of_work(read_only=True)
    async def versions(self, kind: VersionKind, *, after_id: int | None, limit: int) -> CheckedRows:
        """Check up to `limit` earlier versions after `after_id` by their MACs and by the entries of
        those that were destroyed."""
        async with self.transaction() as repositories:
            rows = await repositories.version_rows.after(kind, after_id, limit)
            forged = await self.kit.guard.forged_versions(repositories, kind, rows)
        problems = [f"{row.target} was {forged[row.id]}" for row in rows if row.id in forged]
        return CheckedRows(len(rows), tuple(problems), rows[-1].id if rows else None)

    @unit_of_work(read_only=True)
    async def entries(self, *, after_id: int, limit: int) -> CheckedRows:
        """Look for the rows that the newest entries of their targets tell of, among up to `limit`
        entries after `after_id`, and for newer entries than those."""
        async with self.transaction() as repositories:
            end = await repositories.guarded_rows.end_of_page(after_id, limit)
            between = (after_id, end if end is not None else _GREATEST_ID)
            entries = await repositories.guarded_rows.newest_between(*between)
            displaced = await repositories.guarded_rows.displaced_between(*between)
            missing: list[TargetEntry] = []
            for kind in GUARDED_KINDS:
                missing += await self._missing(repositories, kind, entries)
            purged = await self._purged(repositories, missing)
        problems = [f"{one.target} was deleted" for one in missing if one.project_id not in purged]
        problems += [f"{target} has a newer entry" for target in dict.fromkeys(displaced)]
        return CheckedRows(len(entries), tuple(problems), end)

    async def _missing(
        self, repositories: Repositories, kind: GuardedKind, entries: Sequence[TargetEntry]
    ) -> list[TargetEntry]:
        """The entries about rows of this kind that should exist and don't."""
        expected = {
            one: match.groups()
            for one in entries
            if (match := kind.targets.fullmatch(one.target))
            and not self.kit.guard.is_tombstone(kind, one.target, one.entry)
        }
        present = await repositories.guarded_rows.present(kind, list(expected.values()))
        return [one for one in expected if one.target not in present]

    async def _purged(
        self, repositories: Repositories, entries: Sequence[TargetEntry]
    ) -> set[int | None]:
        """The projects of these entries that were purged, with all that belongs to them."""
        targets = {project_target(one.project_id): one.project_id for one in entries}
        newest = await repositories.guarded_rows.newest_of(list(targets))
        return {
            targets[target]
            for target, entry in newest.items()
            if self.kit.guard.is_tombstone(PROJECTS, target, entry)
        }
