"""Verifying the guarded rows: each is as the record left it, and none is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.repositories import Repositories
from backend.repositories.guarded_rows import GUARDED_KINDS, PROJECTS, GuardedKind, TargetEntry
from backend.services.base import UseCases, unit_of_work
from backend.services.guard import project_target


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
    async def entries(self, *, after_id: int, limit: int) -> CheckedRows:
        """Look for the rows that the newest entries of up to `limit` targets tell of."""
        async with self.transaction() as repositories:
            entries = await repositories.guarded_rows.newest_after(after_id, limit)
            missing: list[TargetEntry] = []
            for kind in GUARDED_KINDS:
                missing += await self._missing(repositories, kind, entries)
            purged = await self._purged(repositories, missing)
        return CheckedRows(
            len(entries),
            tuple(f"{one.target} was deleted" for one in missing if one.project_id not in purged),
            entries[-1].entry.id if entries else None,
        )

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
