"""Use cases for secrets. Values come in and go out as `SecretStr`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from backend.errors import InvalidField, ProjectNotFound, SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS
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
from backend.services.preconditions import matched
from backend.services.principal import current_principal
from backend.services.projects.conditions import match_secret
from backend.services.projects.secret_batches import GivenSecret, SecretBatches
from backend.services.projects.secret_endings import SecretEndings
from backend.services.projects.secret_sealing import (
    SecretSealing,
    metadata_of,
    secret_revealed,
    stored_key,
)
from backend.services.reveals import reveals
from database.engine import ALONE, Call
from models import SecretStatus


class Secrets(UseCases):
    """Creating, reading, changing and deleting secrets."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        super().__init__(kit)
        self._sealing = sealing
        self._batches = SecretBatches(kit, sealing)
        self._endings = SecretEndings(kit, sealing)

    @unit_of_work
    async def create(self, project_id: int, secret: SecretCreate) -> SecretMetadata:
        """Create a secret, and return its metadata. Raises `ProjectNotFound` and `SecretExists`."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            return metadata_of(
                await self._sealing.add(
                    repositories, project_id, secret.key, secret.value, redact=secret.redact
                )
            )

    @unit_of_work
    async def put(
        self, project_id: int, key: str, value: SecretStr | None, redact: bool | None = None
    ) -> tuple[SecretMetadata, bool]:
        """Set the secret's value, and whether it is redacted, and return its metadata and whether
        the secret is new.

        What is `None` stays the same, and nothing changes when the secret has both already. Raises
        `ProjectNotFound`, `InvalidField` when a new secret has no value, and `SecretUnreadable`
        when the value is to stay but is unreadable.
        """
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            stored = await repositories.secrets.get(project_id, key)
            matched(stored.secret.version if stored is not None else None)
            if value is None:
                if stored is None:
                    raise _no_value("value")
                if redact is not None and redact != stored.secret.redact:
                    switched = await self._sealing.replace(repositories, stored, None, redact)
                    return metadata_of(switched or stored.secret), False
                metadata = self._sealing.metadata(stored)
                await self._sealing.mark_forged(repositories, [metadata])
                return metadata, False
            if stored is None:
                return metadata_of(
                    await self._sealing.add(
                        repositories, project_id, key, value, redact=redact is not False
                    )
                ), True
            replaced = await self._sealing.replace(repositories, stored, value, redact)
            return metadata_of(replaced or stored.secret), False

    @unit_of_work(together="upsert_together")
    async def upsert(
        self, project_id: int, secrets: Sequence[SecretCreate | SecretUpsert]
    ) -> SecretUpsertResult:
        """Set all of `secrets` that have a value; other secrets stay unchanged. Returns how many
        were created, updated and unchanged.

        Raises `ProjectNotFound`, and `InvalidField` when a new secret has no value.
        """
        given = [(secret.key, value) for secret in secrets if (value := secret.value) is not None]
        redact = _redact(secrets)
        async with self.transaction() as repositories:
            if not current_principal().sees(project_id):
                raise ProjectNotFound
            live = await repositories.keys.of_live_projects([project_id])
            if project_id not in live:
                raise ProjectNotFound
            if len(given) < len(secrets):
                await self._require_values(repositories, project_id, secrets)
            switched = await self._switch(repositories, project_id, secrets)
            result = await self._batches.set_all(
                repositories, project_id, given, live[project_id], redact=redact
            )
            result.updated += switched
            result.unchanged += len(secrets) - len(given) - switched
            return result

    async def _switch(
        self,
        repositories: Repositories,
        project_id: int,
        secrets: Sequence[SecretCreate | SecretUpsert],
    ) -> int:
        """Set whether those secrets are redacted that have no new value. Returns how many
        changed."""
        switched = 0
        for secret in secrets:
            if secret.value is None and secret.redact is not None:
                stored = await repositories.secrets.get(project_id, secret.key)
                if stored is not None and stored.secret.redact != secret.redact:
                    await self._sealing.replace(repositories, stored, None, secret.redact)
                    switched += 1
        return switched

    async def upsert_together(self, calls: Sequence[Call]) -> Sequence[Any]:
        """The outcomes of several `upsert` at once."""
        outcomes: list[Any] = [ALONE] * len(calls)
        # Several calls for one project have to stay in their order, so only the first may fit.
        first: dict[int, int] = {}
        for place, call in enumerate(calls):
            first.setdefault(call.arguments[0], place)
        async with self.transaction() as repositories:
            live = await repositories.keys.of_live_projects(list(first))
            for project_id, place in first.items():
                call, key = calls[place], live.get(project_id)
                given = [(one.key, one.value) for one in call.arguments[1]]
                if (
                    key is not None
                    and self.kit.vault.can_unwrap(stored_key(key))
                    and call.context.run(current_principal).sees(project_id)
                    and all(value is not None for _, value in given)
                    and not _redact(call.arguments[1])
                ):
                    outcomes[place] = await self._batches.set_all(
                        repositories, project_id, given, key, call
                    )
        return outcomes

    async def _require_values(
        self,
        repositories: Repositories,
        project_id: int,
        secrets: Sequence[SecretCreate | SecretUpsert],
    ) -> None:
        """Raises `InvalidField` for the first secret that has no value and does not exist yet."""
        keys = [secret.key for secret in secrets if secret.value is None]
        present = await repositories.secrets.rows_of(project_id, keys)
        for index, secret in enumerate(secrets):
            if secret.value is None and secret.key not in present:
                raise _no_value("secrets", index, "value")

    async def set_all(
        self,
        repositories: Repositories,
        project_id: int,
        secrets: Sequence[GivenSecret],
        redact: Mapping[str, bool] | None = None,
    ) -> SecretUpsertResult:
        """The same as a step of a larger transaction. `redact` tells of some keys whether their
        values are redacted."""
        current = await repositories.keys.current_project_key(project_id)
        return await self._batches.set_all(
            repositories, project_id, secrets, current, redact=redact or {}
        )

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
            stored, row = await self._sealing.recorded(repositories, project_id, key)
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
            stored, row = await self._sealing.recorded(repositories, project_id, key)
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
        """Delete a secret, which can be restored for a while. Raises `ProjectNotFound` and
        `SecretNotFound`."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            await match_secret(repositories, project_id, key)
            await self._endings.delete(repositories, project_id, key)


def _redact(secrets: Sequence[SecretCreate | SecretUpsert]) -> dict[str, bool]:
    """Whether values are redacted, by key, of those secrets for which the request says it."""
    return {
        secret.key: secret.redact
        for secret in secrets
        if secret.redact is not None and "redact" in secret.model_fields_set
    }


def _no_value(*location: str | int) -> InvalidField:
    return InvalidField(location, "secret_value", "send a value: no secret has this key")
