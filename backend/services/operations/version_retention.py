"""Removing versions beyond their limits, and what is left of secrets that were deleted long ago."""

from collections.abc import Awaitable, Callable

from backend.repositories import Repositories
from backend.repositories.retention_repository import Extent
from backend.repositories.version_rows import CONFIGURATION_VERSIONS, SECRET_VERSIONS
from backend.schemas.retention import RetentionLimits
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.projects.secret_endings import SecretEndings
from backend.services.projects.secret_sealing import SecretSealing

_LOOKED_AT = 2000
"""How many rows are looked at in one read."""

Looked = tuple[list[int], tuple[int, ...] | None]
"""The ids of removable rows among those that were looked at, and the place of the last one; `None`
at the end."""
Look = Callable[[tuple[int, ...], int], Awaitable[Looked]]
Remove = Callable[[list[int]], Awaitable[int]]


class Beyond:
    """Finds removable versions and removes them, from the first to the last."""

    def __init__(self, look: Look, remove: Remove, before_all: tuple[int, ...]) -> None:
        self._look = look
        self._remove = remove
        self._after: tuple[int, ...] | None = before_all
        self._found: list[int] = []

    async def remove(self, limit: int) -> int | None:
        """Remove at most `limit` versions. Returns how many were removed; 0 at the end, `None` when
        there may be more."""
        if not self._found and self._after is not None:
            self._found, self._after = await self._look(self._after, _LOOKED_AT)
        if not self._found:
            return 0 if self._after is None else None
        removed = await self._remove(self._found[:limit])
        self._found = self._found[limit:]
        return removed or None

    async def count(self) -> int:
        """The number of removable versions."""
        count = 0
        while self._after is not None:
            found, self._after = await self._look(self._after, _LOOKED_AT)
            count += len(found)
        return count


class VersionRetention(UseCases):
    """Counting and removing versions."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._endings = SecretEndings(kit, SecretSealing(kit))

    def configurations_beyond(self, kept: int) -> Beyond:
        """The versions of configurations that are not among the newest `kept`, and that no run
        refers to."""

        async def look(after: tuple[int, ...], limit: int) -> Looked:
            project_id, version = after
            return await self.repositories.configuration_versions.beyond(
                kept, (project_id, version), limit
            )

        async def remove(ids: list[int]) -> int:
            return await self._remove_configurations(ids, kept)

        return Beyond(look, remove, (0, 0))

    def secrets_beyond(self, kept: int) -> Beyond:
        """The versions of secrets that are not among the newest `kept`."""

        async def look(after: tuple[int, ...], limit: int) -> Looked:
            (id,) = after
            return await self.repositories.secret_versions.beyond(kept, id, limit)

        async def remove(ids: list[int]) -> int:
            return await self._remove_secrets(ids, kept)

        return Beyond(look, remove, (0,))

    @unit_of_work
    async def _remove_configurations(self, ids: list[int], kept: int) -> int:
        async with self.transaction() as repositories:
            return await repositories.configuration_versions.remove(ids, kept)

    @unit_of_work
    async def _remove_secrets(self, ids: list[int], kept: int) -> int:
        async with self.transaction() as repositories:
            return await repositories.secret_versions.remove_beyond(ids, kept)

    async def extents(
        self, limits: RetentionLimits, deleted_before: str | None
    ) -> dict[str, Extent]:
        """The extents of what a removal would remove, by the names of the kinds of data."""
        configurations = secrets = deleted = 0
        if (kept := limits.configuration_versions.newest) is not None:
            configurations = await self.configurations_beyond(kept).count()
        if (kept := limits.secret_versions.newest) is not None:
            secrets = await self.secrets_beyond(kept).count()
        if deleted_before is not None:
            deleted = await self._count_deleted(deleted_before)
        sizes = self.repositories.version_rows
        return {
            "configuration_versions": Extent(
                configurations, await sizes.size(CONFIGURATION_VERSIONS) if configurations else 0.0
            ),
            "secret_versions": Extent(
                secrets, await sizes.size(SECRET_VERSIONS) if secrets else 0.0
            ),
            "deleted_secrets": Extent(
                deleted, await sizes.size(SECRET_VERSIONS) if deleted else 0.0
            ),
        }

    async def _count_deleted(self, before: str) -> int:
        """The number of secrets that were deleted before this time and still have values."""
        count = after_id = 0
        while found := await self._deleted(self.repositories, before, after_id, _LOOKED_AT):
            count += len(found)
            after_id = found[-1][0]
        return count

    @unit_of_work
    async def destroy_deleted(self, before: str, limit: int) -> int:
        """Destroy all versions of up to `limit` secrets that were deleted before this time. Returns
        the number of these secrets."""
        destroyed = after_id = 0
        async with self.transaction() as repositories:
            while found := await self._deleted(repositories, before, after_id, limit - destroyed):
                for _, project_id, key in found:
                    versions = await repositories.secret_versions.with_values(project_id, key)
                    # A key that was damaged in the file names no version.
                    if versions:
                        await self._endings.destroy_all(repositories, project_id, key, versions)
                        destroyed += 1
                after_id = found[-1][0]
                if destroyed == limit:
                    break
        return destroyed

    async def _deleted(
        self, repositories: Repositories, before: str, after_id: int, limit: int
    ) -> list[tuple[int, int, str]]:
        return await repositories.secret_versions.deleted_before(before, after_id, limit)
