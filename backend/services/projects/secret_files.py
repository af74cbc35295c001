"""Many secrets of a project at once: revealed, as JSON or as a file, and imported from a file."""

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import SecretStr

from backend.errors import (
    InvalidField,
    ProjectNotFound,
    SecretNotFound,
    SecretUnreadable,
)
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.guarded_rows import RecordedRow
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.project_secrets_repository import SecretRow
from backend.schemas.environment_files import NotCarriedError, RevealFormat, written
from backend.schemas.secrets import SecretsReveal
from backend.services.base import Kit, UseCases, existing_project, unit_of_work
from backend.services.principal import current_principal
from backend.services.projects.secret_batches import SecretBatches, SetKeys
from backend.services.projects.secret_sealing import (
    SecretSealing,
    secret_context,
    secret_revealed,
    stored_key,
)
from backend.services.reveals import reveals
from models import MAX_SECRET_BYTES, MAX_SECRETS_PER_REQUEST, Scope

MAX_REVEALED_BYTES: Final = MAX_SECRETS_PER_REQUEST * MAX_SECRET_BYTES
"""The most bytes of values that are revealed at once: those of the most keys that can be named."""


class SecretFiles(UseCases):
    """Reveals and imports of many secrets."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        super().__init__(kit)
        self._sealing = sealing
        self._batches = SecretBatches(kit, sealing)

    @reveals
    async def reveal(self, project_id: int, keys: Sequence[str] | None) -> SecretsReveal:
        """The values of the project's secrets with these keys, or of all, by key. The audit records
        each reveal durably before this returns.

        Raises `ProjectNotFound`, `SecretNotFound` and `SecretUnreadable` with the key,
        `InvalidField` when the project's values are too large, and `NotRecorded`.
        """
        async with self.transaction() as repositories:
            rows = await self._rows(repositories, project_id, keys)
            values = await self._values(repositories, project_id, rows)
            await self._record(repositories, rows)
            return SecretsReveal(
                secrets=values, versions={row.key_name: row.version for row in rows}
            )

    @reveals
    async def reveal_file(
        self, project_id: int, keys: Sequence[str] | None, form: RevealFormat
    ) -> str:
        """The same as a file in this form. Raises also `InvalidField`, with the key, for a value
        that the form can't carry."""
        async with self.transaction() as repositories:
            rows = await self._rows(repositories, project_id, keys)
            values = await self._values(repositories, project_id, rows)
            try:
                text = written(values, form)
            except NotCarriedError as error:
                place = ("query", "format") if keys is None else ("keys", keys.index(error.key))
                raise InvalidField(place, error.code, error.message, key=error.key) from None
            await self._record(repositories, rows)
            return text

    async def _record(self, repositories: Repositories, rows: Sequence[SecretRow]) -> None:
        await self.kit.audit.record_all(repositories, [secret_revealed(row) for row in rows])

    async def _rows(
        self, repositories: Repositories, project_id: int, keys: Sequence[str] | None
    ) -> list[SecretRow]:
        """The genuine rows of these secrets, sorted by key."""
        await existing_project(repositories, project_id)
        if keys is None:
            size = await repositories.secrets.sealed_size(project_id)
            # Base64 has four characters for three bytes.
            if size // 4 * 3 > MAX_REVEALED_BYTES:
                raise _too_large()
            recorded = await repositories.guarded_rows.recorded_of(SECRETS, [project_id])
        else:
            present = await repositories.secrets.rows_of(project_id, keys)
            await self._require_all(repositories, project_id, keys, present)
            ids = [row.id for row in present.values()]
            recorded = await repositories.guarded_rows.recorded(SECRETS, ids)
        rows = [self._genuine(repositories, row) for row in recorded]
        return sorted(rows, key=lambda row: row.key_name)

    async def _require_all(
        self,
        repositories: Repositories,
        project_id: int,
        keys: Sequence[str],
        present: Mapping[str, SecretRow],
    ) -> None:
        """Raises `SecretNotFound` for the first key without a secret; `SecretUnreadable` if its row
        was deleted outside the service."""
        for place, key in enumerate(keys):
            if key not in present:
                if await self._sealing.must_exist(repositories, project_id, key):
                    raise SecretUnreadable(key=key)
                raise SecretNotFound([("keys", place)], key=key)

    def _genuine(self, repositories: Repositories, recorded: RecordedRow) -> SecretRow:
        row = SecretRow._make(recorded.values)
        if not self.kit.guard.is_genuine_row(repositories, SECRETS, recorded):
            # A damaged key may have another type.
            raise SecretUnreadable(key=str(row.key_name))
        return row

    async def _values(
        self, repositories: Repositories, project_id: int, rows: Sequence[SecretRow]
    ) -> dict[str, str]:
        """The values of genuine rows, by key."""
        keys = {key.id: key for key in await repositories.keys.project_keys_of(project_id)}
        values: dict[str, str] = {}
        for row in rows:
            # Without the row of its key, which only another program can remove, it is unreadable.
            key = keys.get(row.project_key_id, ProjectKey(row.project_key_id, project_id, ""))
            try:
                value = self.kit.vault.open(stored_key(key), secret_context(row), row.ciphertext)
            except SecretUnreadable:
                raise SecretUnreadable(key=row.key_name) from None
            values[row.key_name] = value.get_secret_value()
        return values

    @unit_of_work
    async def store(self, project_id: int, values: Mapping[str, SecretStr]) -> SetKeys:
        """Set these secrets, and leave the others. Returns which of them were created, updated and
        unchanged. Raises `ProjectNotFound`."""
        async with self.transaction() as repositories:
            current = await self._key_of_live(repositories, project_id)
            return await self._batches.set_keys(
                repositories, project_id, list(values.items()), current
            )

    @unit_of_work(read_only=True)
    async def preview(self, project_id: int, values: Mapping[str, SecretStr]) -> SetKeys:
        """What `store` would return, without effect. Raises `ProjectNotFound`.

        A principal that may not reveal secrets could try values unseen, so for it no present
        secret counts as unchanged.
        """
        async with self.transaction() as repositories:
            current = await self._key_of_live(repositories, project_id)
            return await self._batches.would_set(
                repositories,
                project_id,
                list(values.items()),
                current,
                compare=current_principal().may(Scope.SECRETS_REVEAL),
            )

    async def _key_of_live(self, repositories: Repositories, project_id: int) -> ProjectKey | None:
        """The current key of a project that is not deleted, if it has one. Raises
        `ProjectNotFound`."""
        if current_principal().sees(project_id):
            live = await repositories.keys.of_live_projects([project_id])
            if project_id in live:
                return live[project_id]
        raise ProjectNotFound


def _too_large() -> InvalidField:
    most, keys = MAX_REVEALED_BYTES // 2**20, MAX_SECRETS_PER_REQUEST
    message = f"the values have more than {most} MiB: name at most {keys} keys at once"
    return InvalidField(("keys",), "too_large", message)
