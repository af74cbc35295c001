"""Use cases for secrets. Values come in and go out as `SecretStr`."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeGuard

from pydantic import SecretStr

from backend.crypto.project_cipher import ProjectCipher
from backend.errors import InvalidField, ProjectNotFound, SecretNotFound, SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.guarded_rows import SECRETS, GuardedRow, RecordedRow
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.project_secrets_repository import (
    PresentValue,
    SealedSecret,
    StoredSecret,
)
from backend.schemas.secrets import (
    SecretCreate,
    SecretList,
    SecretMetadata,
    SecretReveal,
    SecretUpsert,
    SecretUpsertResult,
)
from backend.services.base import (
    Kit,
    UseCases,
    existing_project,
    require_live_project,
    unit_of_work,
)
from backend.services.kinds import Kind
from backend.services.principal import current_principal
from backend.services.projects.secret_sealing import (
    SecretSealing,
    metadata_of,
    secret_created,
    secret_revealed,
    secret_target,
    secret_updated,
    stored_key,
)
from backend.services.reveals import reveals
from models import SecretStatus


class GivenSecret(Protocol):
    """A secret that a client sends with its value."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> SecretStr: ...


class Secrets(UseCases):
    """Creating, reading, changing and deleting secrets."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        super().__init__(kit)
        self._sealing = sealing

    @unit_of_work
    async def create(self, project_id: int, secret: SecretCreate) -> SecretMetadata:
        """Create a secret, and return its metadata. Raises `ProjectNotFound` and `SecretExists`."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            return metadata_of(
                await self._sealing.add(repositories, project_id, secret.key, secret.value)
            )

    @unit_of_work
    async def put(
        self, project_id: int, key: str, value: SecretStr | None
    ) -> tuple[SecretMetadata, bool]:
        """Set the secret's value, and return its metadata and whether the secret is new.

        Nothing changes without a value, or when the secret already has this value. Raises
        `ProjectNotFound`, and `InvalidField` when a new secret has no value.
        """
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            stored = await repositories.secrets.get(project_id, key)
            if value is None:
                if stored is None:
                    raise _no_value("value")
                metadata = self._sealing.metadata(stored)
                await self._sealing.mark_forged(repositories, [metadata])
                return metadata, False
            if stored is None:
                return metadata_of(
                    await self._sealing.add(repositories, project_id, key, value)
                ), True
            replaced = await self._sealing.replace(repositories, stored, value)
            return metadata_of(replaced or stored.secret), False

    @unit_of_work
    async def upsert(
        self, project_id: int, secrets: Sequence[SecretCreate | SecretUpsert]
    ) -> SecretUpsertResult:
        """Set all of `secrets` that have a value; other secrets stay unchanged. Returns how many
        were created, updated and unchanged.

        Raises `ProjectNotFound`, and `InvalidField` when a new secret has no value.
        """
        given = [secret for secret in secrets if _has_value(secret)]
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            if len(given) < len(secrets):
                await self._require_values(repositories, project_id, secrets)
            result = await self.set_all(repositories, project_id, given)
            result.unchanged += len(secrets) - len(given)
            return result

    async def _require_values(
        self,
        repositories: Repositories,
        project_id: int,
        secrets: Sequence[SecretCreate | SecretUpsert],
    ) -> None:
        """Raises `InvalidField` for the first secret that has no value and does not exist yet."""
        keys = [secret.key for secret in secrets if secret.value is None]
        present = await repositories.secrets.present_values(project_id, keys)
        for index, secret in enumerate(secrets):
            if secret.value is None and secret.key not in present:
                raise _no_value("secrets", index, "value")

    async def set_all(
        self, repositories: Repositories, project_id: int, secrets: Sequence[GivenSecret]
    ) -> SecretUpsertResult:
        """The same as a step of a larger transaction."""
        present = await repositories.secrets.present_values(project_id, [s.key for s in secrets])
        forged = await self._remove_forged(repositories, project_id, present)
        current = await repositories.keys.current_project_key(project_id)
        ciphers = await self._ciphers(repositories, project_id, current, present)
        result = SecretUpsertResult(created=0, updated=0, unchanged=0)
        changed = [
            secret
            for secret in secrets
            if (stored := present.get(secret.key)) is None
            or (cipher := ciphers.get(stored.project_key_id)) is None
            or not cipher.holds(secret.key, stored.version, stored.ciphertext, secret.value)
        ]
        result.unchanged = len(secrets) - len(changed)
        if not changed:
            return result
        if current is None:
            project_key = await self._sealing.new_key(repositories, project_id)
        else:
            project_key = stored_key(current)
        cipher = self.kit.vault.project(project_key)
        last = await self._last_versions(
            repositories, project_id, [s.key for s in changed if s.key not in present]
        )
        new: list[SealedSecret] = []
        replaced: list[tuple[SealedSecret, PresentValue]] = []
        for secret in changed:
            key = secret.key
            stored = present.get(key)
            version = (last.get(key, 0) if stored is None else stored.version) + 1
            text = cipher.seal(key, version, secret.value)
            sealed = SealedSecret(key, version, project_key.id, text)
            if stored is None:
                new.append(sealed)
            else:
                replaced.append((sealed, stored))
        events = []
        if replaced:
            rows = await repositories.secrets.replace_all(project_id, replaced)
            events += [
                secret_updated(project_id, key, version, row)
                for row, ((key, version, *_), _) in zip(rows, replaced, strict=True)
            ]
        if new:
            rows = await repositories.secrets.add_all(project_id, new)
            events += [
                secret_created(project_id, key, version, row)
                for row, (key, version, *_) in zip(rows, new, strict=True)
            ]
        result.created = len(new) - len(forged)
        result.updated = len(replaced) + len(forged)
        await self.kit.audit.record_all(repositories, events)
        return result

    async def _remove_forged(
        self, repositories: Repositories, project_id: int, present: dict[str, PresentValue]
    ) -> list[str]:
        """Remove the rows that are not as the record left them, also from `present`. Returns their
        keys."""
        is_genuine = self.kit.guard.is_genuine_row
        keys = [
            key
            for key, value in present.items()
            if not is_genuine(repositories, SECRETS, value.recorded)
        ]
        if keys:
            await repositories.secrets.remove_all(project_id, keys)
        for key in keys:
            del present[key]
        return keys

    async def _last_versions(
        self, repositories: Repositories, project_id: int, keys: Sequence[str]
    ) -> dict[str, int]:
        """The last versions of these keys, by key, without those that never had a secret."""
        targets = {secret_target(project_id, key): key for key in keys}
        versions = await self.kit.guard.last_versions(repositories, list(targets))
        return {targets[target]: version for target, version in versions.items()}

    async def _ciphers(
        self,
        repositories: Repositories,
        project_id: int,
        current: ProjectKey | None,
        present: Mapping[str, PresentValue],
    ) -> dict[int, ProjectCipher]:
        """The ciphers of the present values, by key id, without unreadable keys."""
        keys = [current] if current is not None else []
        ids = {value.project_key_id for value in present.values()}
        if not ids.issubset(key.id for key in keys):
            # A rotation has given the project a new key, and has not reached all values yet.
            keys = await repositories.keys.project_keys_of(project_id)
        ciphers = {}
        for key in keys:
            with contextlib.suppress(SecretUnreadable):
                ciphers[key.id] = self.kit.vault.project(stored_key(key))
        return ciphers

    @unit_of_work(read_only=True)
    async def page(self, project_id: int, *, limit: int, cursor: str | None) -> SecretList:
        """One page of metadata, newest first. Raises `ProjectNotFound` and `BadCursor`."""
        listing = self.kit.listing("secrets", project_id, cursor=cursor)
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            page = await repositories.secrets.page(
                project_id, self._sealing.metadata, limit=limit, after=listing.after
            )
            await self._sealing.mark_forged(repositories, page.items)
        return listing.answer(SecretList, page, secrets=page.items)

    @unit_of_work(read_only=True)
    async def get(self, project_id: int, key: str) -> SecretMetadata:
        """A secret's metadata. Raises `ProjectNotFound` and `SecretNotFound`; `SecretUnreadable`
        when its row was deleted outside the service."""
        async with self.transaction() as repositories:
            stored, row = await self._recorded(repositories, project_id, key)
            metadata = self._sealing.metadata(stored)
            if not self.kit.guard.is_genuine_row(repositories, SECRETS, row):
                metadata.status = SecretStatus.UNREADABLE
            return metadata

    @reveals
    async def reveal(self, project_id: int, key: str) -> SecretReveal:
        """A secret's value. The audit records the reveal durably before this returns.

        Raises `ProjectNotFound`, `SecretNotFound`, `SecretUnreadable` and `NotRecorded`.
        """
        async with self.transaction() as repositories:
            stored, row = await self._recorded(repositories, project_id, key)
            if not self.kit.guard.is_genuine_row(repositories, SECRETS, row):
                raise SecretUnreadable
            value = self._sealing.open_genuine(stored)
            await self.kit.audit.record_all(repositories, [secret_revealed(stored.secret)])
            return SecretReveal(
                key=stored.secret.key_name,
                value=value.get_secret_value(),
                version=stored.secret.version,
            )

    @unit_of_work
    async def delete(self, project_id: int, key: str) -> None:
        """Remove a secret. Raises `ProjectNotFound` and `SecretNotFound`."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            target = secret_target(project_id, key)
            removed = await repositories.secrets.remove(project_id, key)
            if not removed and not await self._must_exist(repositories, project_id, key):
                raise SecretNotFound
            await self.kit.audit.record(
                repositories,
                Kind.SECRET_DELETED,
                target=target,
                project_id=project_id,
                version=await self.kit.guard.last_version(repositories, target) or None,
                row=GuardedRow(SECRETS, None),
            )

    async def _recorded(
        self, repositories: Repositories, project_id: int, key: str
    ) -> tuple[StoredSecret, RecordedRow]:
        """The project's secret of this key, and its row with its newest entries. Raises
        `ProjectNotFound` and `SecretNotFound`; `SecretUnreadable` when its row was deleted outside
        the service."""
        if not current_principal().sees(project_id):
            raise ProjectNotFound
        found = await repositories.secrets.get_recorded(project_id, key)
        if found is None:
            await existing_project(repositories, project_id)
            if await self._must_exist(repositories, project_id, key):
                raise SecretUnreadable
            raise SecretNotFound
        return found

    async def _must_exist(self, repositories: Repositories, project_id: int, key: str) -> bool:
        target = secret_target(project_id, key)
        return await self.kit.guard.must_exist(repositories, SECRETS, target, project_id)


def _has_value(secret: SecretCreate | SecretUpsert) -> TypeGuard[GivenSecret]:
    return secret.value is not None


def _no_value(*location: str | int) -> InvalidField:
    return InvalidField(location, "secret_value", "send a value: no secret has this key")
