"""Use cases for the versions of secrets: listing, revealing, going back to one, destroying."""

from pydantic import SecretStr

from backend.crypto.envelope import SecretContext
from backend.errors import (
    SecretNotFound,
    SecretUnreadable,
    VersionDestroyed,
    VersionNotFound,
)
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.guarded_rows import RecordedRow
from backend.repositories.project_secrets_repository import StoredSecret
from backend.repositories.secret_versions_repository import KeptSecret, StoredVersion
from backend.repositories.version_rows import SECRET_VERSIONS
from backend.schemas.secrets import SecretMetadata, SecretReveal
from backend.schemas.versions import SecretVersion, SecretVersionList, VersionStatus
from backend.services.base import (
    Kit,
    UseCases,
    existing_project,
    require_live_project,
    unit_of_work,
)
from backend.services.kinds import Kind
from backend.services.projects.conditions import match_secret
from backend.services.projects.secret_endings import SecretEndings
from backend.services.projects.secret_sealing import (
    SecretSealing,
    metadata_of,
    secret_revealed,
    stored_key,
)
from backend.services.reveals import reveals


class SecretHistory(UseCases):
    """The versions of secrets. The present one is the secret itself."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        super().__init__(kit)
        self._sealing = sealing
        self._endings = SecretEndings(kit, sealing)

    @unit_of_work(read_only=True)
    async def page(
        self, project_id: int, key: str, *, limit: int, cursor: str | None
    ) -> SecretVersionList:
        """One page of versions without their values, newest first, also of a deleted secret.
        Raises `ProjectNotFound`, `SecretNotFound` and `BadCursor`."""
        listing = self.kit.listing("secret_versions", project_id, key, cursor=cursor)
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            found = await repositories.secrets.get_recorded(project_id, key)
            newest = await self._newest(repositories, project_id, key, found)
            if not newest:
                raise SecretNotFound
            is_genuine = found is not None and self.kit.guard.is_genuine_row(
                repositories, SECRETS, found[1]
            )
            shown: list[tuple[KeptSecret, SecretVersion]] = []

            def make(stored: StoredVersion) -> SecretVersion:
                made = self._shown(stored)
                # Without the value, which may be large.
                shown.append((stored.version._replace(ciphertext=""), made))
                if stored.version.mac:
                    rows.append(stored.version)
                elif not is_genuine:
                    made.status = VersionStatus.UNREADABLE
                return made

            rows: list[KeptSecret] = []
            page = await repositories.secret_versions.page(
                project_id,
                key,
                make,
                oldest=self._oldest(newest),
                limit=limit,
                after=listing.after,
            )
            forged = await self.kit.guard.forged_versions(
                repositories, SECRET_VERSIONS, [row.row for row in rows]
            )
            for version, made in shown:
                if version.mac and version.id in forged:
                    made.status = VersionStatus.UNREADABLE
        return listing.answer(SecretVersionList, page, versions=page.items)

    @reveals
    async def reveal(self, project_id: int, key: str, version: int) -> SecretReveal:
        """The value of a version of a secret that is not deleted. The audit records the reveal
        durably before this returns.

        Raises `ProjectNotFound`, `SecretNotFound`, `VersionNotFound`, `VersionDestroyed`,
        `SecretUnreadable` and `NotRecorded`.
        """
        async with self.transaction() as repositories:
            found = await self._sealing.recorded(repositories, project_id, key)
            value = await self._value(repositories, project_id, key, version, found)
            await self.kit.audit.record_all(
                repositories, [secret_revealed(found[0].secret, version)]
            )
            return SecretReveal(key=key, value=value.get_secret_value(), version=version)

    @unit_of_work
    async def roll_back(self, project_id: int, key: str, version: int) -> SecretMetadata:
        """Give the secret the value of this version, as a new version, even if it has that value
        already. A deleted secret is there again. Returns its metadata.

        Raises `ProjectNotFound`, `SecretNotFound`, `VersionNotFound`, `VersionDestroyed` and
        `SecretUnreadable`.
        """
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            found = await repositories.secrets.get_recorded(project_id, key)
            if found is None and not await self._sealing.must_exist(repositories, project_id, key):
                last = await repositories.secret_versions.newest(project_id, key)
                if last is None or not self._endings.is_restorable(last):
                    raise SecretNotFound
            await match_secret(repositories, project_id, key, deleted=lambda _: True)
            value = await self._value(repositories, project_id, key, version, found)
            kind = Kind.SECRET_ROLLED_BACK
            if found is not None:
                secret, row = found[0].secret, found[1]
                if self.kit.guard.is_genuine_row(repositories, SECRETS, row):
                    replaced = await self._sealing.replace_row(
                        repositories, secret, row.values, value, kind
                    )
                    return metadata_of(replaced or secret)
                await repositories.secrets.remove(project_id, key)
            return metadata_of(await self._sealing.add(repositories, project_id, key, value, kind))

    @unit_of_work
    async def restore(self, project_id: int, key: str) -> SecretMetadata:
        """The secret, taken back in its last version if it was deleted, else unchanged. Raises
        `ProjectNotFound`, `SecretNotFound` and `SecretUnreadable`."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            can_be = self._endings.can_be_taken_back
            await match_secret(repositories, project_id, key, deleted=can_be)
            stored = await repositories.secrets.get(project_id, key)
            if stored is None:
                if await self._sealing.must_exist(repositories, project_id, key):
                    raise SecretUnreadable
                await self._endings.take_back(repositories, project_id, key)
                stored = await repositories.secrets.get(project_id, key)
            assert stored is not None  # noqa: S101 - it was just taken back
            metadata = self._sealing.metadata(stored)
            await self._sealing.mark_forged(repositories, [metadata])
            return metadata

    @unit_of_work
    async def purge(self, project_id: int, key: str) -> None:
        """Destroy all versions of a secret, which is deleted. Its key and its last number stay.
        Raises `ProjectNotFound` and `SecretNotFound`."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            left = await repositories.secret_versions.with_values(project_id, key)
            await match_secret(repositories, project_id, key, deleted=lambda _: bool(left))
            await self._endings.purge(repositories, project_id, key)

    @unit_of_work
    async def destroy(self, project_id: int, key: str, version: int) -> None:
        """Destroy the value of a version. With the present version, the secret is deleted. Raises
        `ProjectNotFound`, `SecretNotFound` and `VersionNotFound`."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            await match_secret(repositories, project_id, key, deleted=lambda _: True)
            await self._endings.destroy(repositories, project_id, key, version)

    async def _value(
        self,
        repositories: Repositories,
        project_id: int,
        key: str,
        version: int,
        found: tuple[StoredSecret, RecordedRow] | None,
    ) -> SecretStr:
        """The value of a version of the secret whose present row is `found`."""
        if found is not None and found[0].secret.version == version:
            if not self.kit.guard.is_genuine_row(repositories, SECRETS, found[1]):
                raise SecretUnreadable
            return self._sealing.open_genuine(found[0])
        stored = await repositories.secret_versions.get(project_id, key, version)
        newest = await self._newest(repositories, project_id, key, found)
        if stored is None or version < self._oldest(newest):
            raise VersionNotFound
        rows = [stored.version.row]
        if await self.kit.guard.forged_versions(repositories, SECRET_VERSIONS, rows):
            raise SecretUnreadable
        if stored.key is None or stored.version.ciphertext is None:
            raise VersionDestroyed
        return self.kit.vault.open(
            stored_key(stored.key),
            SecretContext(project_id, key, version),
            stored.version.ciphertext,
        )

    async def _newest(
        self,
        repositories: Repositories,
        project_id: int,
        key: str,
        found: tuple[StoredSecret, RecordedRow] | None,
    ) -> int:
        """The number of the present version, or of the last one of a deleted secret; 0 without
        one."""
        if found is not None:
            return found[0].secret.version
        last = await repositories.secret_versions.newest(project_id, key)
        return last.version if last is not None else 0

    def _oldest(self, newest: int) -> int:
        return self.kit.kept_versions.oldest(newest, self.kit.kept_versions.secrets)

    def _shown(self, stored: StoredVersion) -> SecretVersion:
        version, key = stored
        if key is None or version.ciphertext is None:
            status = VersionStatus.DESTROYED
        else:
            context = SecretContext(version.project_id, version.key_name, version.version)
            readable = self.kit.vault.is_readable(stored_key(key), context, version.ciphertext)
            status = VersionStatus.OK if readable else VersionStatus.UNREADABLE
        # Not validated, so that a row that was damaged in the file can be seen.
        return SecretVersion.model_construct(
            version=version.version,
            created_at=version.updated_at,
            actor=version.actor,
            status=status,
            fields=["value"],
            deleted_at=version.deleted_at,
            destroyed_at=version.destroyed_at,
        )
