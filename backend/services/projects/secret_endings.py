"""Deleting and purging secrets, taking them back, and destroying versions: the steps inside a
transaction.

A deleted secret's last version joins its earlier ones, so that it can be taken back. A destroyed
version keeps its row without a value, and has an entry in the record, which shows that a row with
a value was put back.
"""

from collections.abc import Sequence
from datetime import timedelta

from backend.errors import SecretNotFound, SecretUnreadable, VersionNotFound
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.guarded_rows import GuardedRow
from backend.repositories.secret_versions_repository import KeptSecret, present_version
from backend.repositories.version_rows import SECRET_VERSIONS
from backend.schemas.retention import RESTORABLE_DAYS
from backend.services.base import Kit
from backend.services.kinds import Kind
from backend.services.projects.secret_sealing import SecretSealing, secret_target
from backend.services.recording import AuditEvent
from database.base import time_text
from database.engine import Value
from database.errors import IntegrityError
from models import ProjectSecret


class SecretEndings:
    """Steps that end secrets and versions, or take secrets back."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        self._kit = kit
        self._sealing = sealing

    async def delete(self, repositories: Repositories, project_id: int, key: str) -> None:
        """Delete a secret. Its versions are kept. Raises `SecretNotFound`."""
        values = await self._present(repositories, project_id, key)
        if values is not None:
            now = repositories.secrets.now()
            await self._sealing.keep(repositories, [values], deleted_at=now)
        await self._remove(repositories, project_id, key, Kind.SECRET_DELETED)

    async def purge(self, repositories: Repositories, project_id: int, key: str) -> None:
        """Delete a secret, if it is not deleted yet, and destroy all its versions. Raises
        `SecretNotFound` when there is no value to destroy."""
        values = await self._present(repositories, project_id, key)
        versions = await repositories.secret_versions.with_values(project_id, key)
        if not versions and not await self._exists(repositories, project_id, key):
            raise SecretNotFound
        if values is not None:
            present = present_version(values)
            await self._add_destroyed(repositories, present, deleted_at=None)
            await self._record_destroyed(repositories, [present])
        await self.destroy_all(repositories, project_id, key, versions)
        await self._remove(repositories, project_id, key, Kind.SECRET_PURGED, must_exist=False)

    async def destroy(
        self, repositories: Repositories, project_id: int, key: str, version: int
    ) -> None:
        """Destroy a version, if it is not destroyed yet. If it is the present one, the secret is
        deleted. Raises `SecretNotFound` and `VersionNotFound`."""
        values = await self._present(repositories, project_id, key)
        if values is not None and present_version(values).version == version:
            await self._destroy_present(repositories, project_id, key, present_version(values))
            return
        stored = await repositories.secret_versions.get(project_id, key, version)
        if stored is None:
            target = secret_target(project_id, key)
            if await self._kit.guard.last_version(repositories, target) == 0:
                raise SecretNotFound
            raise VersionNotFound
        if stored.version.destroyed_at is None:
            await self._destroy(repositories, [stored.version])
            if values is None:
                await self._forget_deletion(repositories, project_id, key)

    async def destroy_all(
        self,
        repositories: Repositories,
        project_id: int,
        key: str,
        versions: Sequence[KeptSecret],
    ) -> None:
        """Destroy these versions, which are all that have a value."""
        await self._destroy(repositories, versions)
        await self._forget_deletion(repositories, project_id, key)

    async def take_back(
        self, repositories: Repositories, project_id: int, key: str
    ) -> ProjectSecret:
        """Take back a deleted secret in its last version. Raises `SecretNotFound` when it can't be
        any more, and `SecretUnreadable` when its row was changed outside the service."""
        last = await repositories.secret_versions.newest(project_id, key)
        if last is None or not self.can_be_taken_back(last):
            raise SecretNotFound
        target = secret_target(project_id, key)
        # Rows of a later version were removed in the file.
        is_last = last.version == await self._kit.guard.last_version(repositories, target)
        forged = await self._kit.guard.forged_versions(repositories, SECRET_VERSIONS, [last.row])
        if forged or not is_last:
            raise SecretUnreadable
        try:
            await repositories.secret_versions.take_back(last.id)
        except IntegrityError:
            # Another program has given its id to another row.
            raise SecretUnreadable from None
        stored = await repositories.secrets.get(project_id, key)
        assert stored is not None  # noqa: S101 - it was just added
        await self._kit.audit.record(
            repositories,
            Kind.SECRET_RESTORED,
            target=target,
            project_id=project_id,
            version=last.version,
            row=GuardedRow(SECRETS, stored.secret.id),
        )
        return stored.secret

    def can_be_taken_back(self, last: KeptSecret) -> bool:
        """Whether a deleted secret, whose last version this is, can be taken back in it."""
        return last.ciphertext is not None and self.is_restorable(last)

    def is_restorable(self, last: KeptSecret) -> bool:
        """Whether a secret without a present version, whose last one this is, can be restored."""
        oldest = time_text(self._kit.now() - timedelta(days=RESTORABLE_DAYS))
        return last.deleted_at is not None and last.deleted_at >= oldest

    async def _present(
        self, repositories: Repositories, project_id: int, key: str
    ) -> tuple[Value, ...] | None:
        """The values of the secret's row; `None` without one that is as the record left it."""
        found = await repositories.secrets.get_recorded(project_id, key)
        if found is None or not self._kit.guard.is_genuine_row(repositories, SECRETS, found[1]):
            return None
        return found[1].values

    async def _exists(self, repositories: Repositories, project_id: int, key: str) -> bool:
        """Whether there is a row, even a forged one, or should be one."""
        if await repositories.secrets.rows_of(project_id, [key]):
            return True
        target = secret_target(project_id, key)
        return await self._kit.guard.must_exist(repositories, SECRETS, target, project_id)

    async def _remove(
        self,
        repositories: Repositories,
        project_id: int,
        key: str,
        kind: Kind,
        *,
        must_exist: bool = True,
    ) -> None:
        target = secret_target(project_id, key)
        if must_exist and not await self._exists(repositories, project_id, key):
            raise SecretNotFound
        await repositories.secrets.remove(project_id, key)
        await self._kit.audit.record(
            repositories,
            kind,
            target=target,
            project_id=project_id,
            version=await self._kit.guard.last_version(repositories, target) or None,
            row=GuardedRow(SECRETS, None),
        )

    async def _destroy_present(
        self, repositories: Repositories, project_id: int, key: str, present: KeptSecret
    ) -> None:
        now = repositories.secrets.now()
        others = await repositories.secret_versions.with_values(project_id, key)
        # As long as others have values, the retention has to find them.
        deleted_at = now if others else None
        await self._add_destroyed(repositories, present, deleted_at=deleted_at)
        await self._record_destroyed(repositories, [present])
        await self._remove(repositories, project_id, key, Kind.SECRET_DELETED)

    async def _add_destroyed(
        self, repositories: Repositories, present: KeptSecret, deleted_at: str | None
    ) -> None:
        now = repositories.secrets.now()
        gone = present._replace(
            project_key_id=None, ciphertext=None, deleted_at=deleted_at, destroyed_at=now
        )
        mac = self._kit.guard.version_mac(SECRET_VERSIONS, gone.covered)
        await repositories.secret_versions.add(gone._replace(mac=mac))

    async def _destroy(self, repositories: Repositories, versions: Sequence[KeptSecret]) -> None:
        now = repositories.secrets.now()
        rows = [version.row for version in versions]
        forged = await self._kit.guard.forged_versions(repositories, SECRET_VERSIONS, rows)
        for version in versions:
            if version.id in forged:
                # What is signed must be genuine.
                await repositories.secret_versions.remove([version.id])
                continue
            gone = version._replace(project_key_id=None, ciphertext=None, destroyed_at=now)
            mac = self._kit.guard.version_mac(SECRET_VERSIONS, gone.covered)
            await repositories.secret_versions.destroy(
                version.id, deleted_at=version.deleted_at, now=now, mac=mac
            )
        await self._record_destroyed(repositories, versions)

    async def _record_destroyed(
        self, repositories: Repositories, versions: Sequence[KeptSecret]
    ) -> None:
        await self._kit.audit.record_all(
            repositories,
            [
                AuditEvent(
                    Kind.SECRET_VERSION_DESTROYED,
                    version.row.target,
                    version.project_id,
                    ("value",),
                    # As the row of a secret that is gone.
                    row=GuardedRow(SECRETS, None),
                )
                for version in versions
            ],
        )

    async def _forget_deletion(self, repositories: Repositories, project_id: int, key: str) -> None:
        """Forget when a deleted secret was deleted, once it has no value that could be restored."""
        if await repositories.secret_versions.with_values(project_id, key):
            return
        last = await repositories.secret_versions.newest(project_id, key)
        if last is None or last.deleted_at is None:
            return
        if await self._kit.guard.forged_versions(repositories, SECRET_VERSIONS, [last.row]):
            await repositories.secret_versions.remove([last.id])
            return
        mac = self._kit.guard.version_mac(SECRET_VERSIONS, last._replace(deleted_at=None).covered)
        await repositories.secret_versions.set_deleted_at(last.id, None, mac)
