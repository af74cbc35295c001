"""Setting many secrets of a project at once.

Most of the time of an upsert goes here, so each step goes through all secrets.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import SecretStr

from backend.crypto.envelope import StoredProjectKey
from backend.crypto.project_cipher import ProjectCipher
from backend.errors import SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.project_secrets_repository import SealedSecret, SecretRow
from backend.schemas.secrets import SecretUpsertResult
from backend.services.base import Kit
from backend.services.kinds import Kind
from backend.services.principal import current_principal
from backend.services.projects.secret_sealing import (
    SecretSealing,
    secret_target,
    stored_key,
    stored_redact,
)
from database.engine import Call


@dataclass(frozen=True, slots=True)
class SetKeys:
    """The keys of secrets that were set, in the order in which they were given."""

    created: list[str]
    updated: list[str]
    unchanged: list[str]


GivenSecret = tuple[str, SecretStr]
"""A secret's key, and the value that a client sends for it."""
PresentSecret = tuple[SecretRow, SecretStr]
"""The stored row of a secret, and its given value."""
_VALUE = ("value",)
_NOT_GIVEN: Mapping[str, bool] = MappingProxyType({})


class SecretBatches:
    """Steps that set secrets inside a transaction."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        self._kit = kit
        self._sealing = sealing

    async def set_all(
        self,
        repositories: Repositories,
        project_id: int,
        secrets: Sequence[GivenSecret],
        current: ProjectKey | None,
        call: Call | None = None,
        redact: Mapping[str, bool] = _NOT_GIVEN,
    ) -> SecretUpsertResult:
        """Set the secrets, which have different keys, and leave the others. Returns how many were
        created, updated and unchanged. `current` is the project's current key, and `call` as for
        `Recorder.record_alike`. `redact` tells of some keys whether their values are redacted; the
        others stay as they are, and new ones are redacted. With `call` there must be none."""
        new, known, changed, forged = await self._set(
            repositories, project_id, secrets, current, call, redact
        )
        return SecretUpsertResult(
            created=len(new) - len(forged),
            updated=len(changed) + len(forged),
            unchanged=len(known) - len(changed),
        )

    async def set_keys(
        self,
        repositories: Repositories,
        project_id: int,
        secrets: Sequence[GivenSecret],
        current: ProjectKey | None,
    ) -> SetKeys:
        """The same, with the keys instead of their numbers."""
        _, known, changed, forged = await self._set(repositories, project_id, secrets, current)
        updated = {row.key_name for row, _ in changed}.union(forged)
        return _sorted(secrets, updated, unchanged={row.key_name for row, _ in known} - updated)

    async def would_set(
        self,
        repositories: Repositories,
        project_id: int,
        secrets: Sequence[GivenSecret],
        current: ProjectKey | None,
        *,
        compare: bool,
    ) -> SetKeys:
        """What `set_keys` would return, without effect. Unless values are compared, those of all
        present secrets count as updated."""
        present = await repositories.secrets.rows_of(project_id, [key for key, _ in secrets])
        unchanged: set[str] = set()
        if compare and present:
            forged = await self._kit.guard.forged(
                repositories, SECRETS, [row.id for row in present.values()]
            )
            known = [
                (row, value)
                for key, value in secrets
                if (row := present.get(key)) is not None and row.id not in forged
            ]
            changed = await self._changed(repositories, project_id, current, known)
            unchanged = {row.key_name for row, _ in known} - {row.key_name for row, _ in changed}
        return _sorted(secrets, present.keys() - unchanged, unchanged)

    async def _set(
        self,
        repositories: Repositories,
        project_id: int,
        secrets: Sequence[GivenSecret],
        current: ProjectKey | None,
        call: Call | None = None,
        redact: Mapping[str, bool] = _NOT_GIVEN,
    ) -> tuple[
        Sequence[GivenSecret], Sequence[PresentSecret], Sequence[PresentSecret], Sequence[str]
    ]:
        """Set the secrets. Returns those that were added and those that were known, which of these
        were replaced, and the keys of those that were added in the place of a forged row."""
        keys = [key for key, _ in secrets]
        present, forged = await self._genuine(repositories, project_id, keys)
        new: list[GivenSecret] = []
        known: list[PresentSecret] = []
        switched: list[PresentSecret] = []
        for secret in secrets:
            row = present.get(secret[0])
            if row is None:
                new.append(secret)
            elif (
                redact and stored_redact(redact.get(row.key_name, row.redact is None)) != row.redact
            ):
                await self._switch(repositories, row, secret[1], redact[row.key_name])
                switched.append((row, secret[1]))
            else:
                known.append((row, secret[1]))
        changed = await self._changed(repositories, project_id, current, known) if known else []
        if new or changed:
            if current is None:
                project_key = await self._sealing.new_key(repositories, project_id)
            else:
                project_key = stored_key(current)
            if changed:
                await self._replace(repositories, project_id, project_key, changed, call)
            if new:
                await self._add(repositories, project_id, project_key, new, call, redact)
        return new, [*known, *switched], [*changed, *switched], forged

    async def _switch(
        self, repositories: Repositories, row: SecretRow, value: SecretStr, redact: bool
    ) -> None:
        """Set a value, and whether it is redacted, which differs. Few secrets need this."""
        stored = await repositories.secrets.get(row.project_id, row.key_name)
        assert stored is not None  # noqa: S101 - its row was just read
        await self._sealing.replace(repositories, stored, value, redact)

    async def _genuine(
        self, repositories: Repositories, project_id: int, keys: Sequence[str]
    ) -> tuple[dict[str, SecretRow], Sequence[str]]:
        """The present rows of these keys, by key. Rows that are not as the record left them are
        removed; their keys are returned too."""
        present: dict[str, SecretRow] = {}
        committed = self._kit.audit.rows.of(project_id)
        known = [row for key in keys if (row := committed.get(key)) is not None]
        if known:
            found = await repositories.guarded_rows.values(SECRETS, [row.id for row in known])
            for row in known:
                if found.get(row.id) == row:
                    # Not what was found: in a damaged row, a float may equal an integer.
                    present[row.key_name] = row
        if len(present) == len(keys):
            return present, ()
        others = [key for key in keys if key not in present]
        unsure = await repositories.secrets.rows_of(project_id, others)
        ids = [row.id for row in unsure.values()]
        forged = await self._kit.guard.forged(repositories, SECRETS, ids)
        removed = [key for key, row in unsure.items() if row.id in forged]
        if removed:
            await repositories.secrets.remove_all(project_id, removed)
            for key in removed:
                del unsure[key]
        return present | unsure, removed

    async def _changed(
        self,
        repositories: Repositories,
        project_id: int,
        current: ProjectKey | None,
        secrets: Sequence[PresentSecret],
    ) -> Sequence[PresentSecret]:
        """Those of the secrets that do not have the given value yet, or are unreadable."""
        ids = {row.project_key_id for row, _ in secrets}
        ciphers = await self._ciphers(repositories, project_id, current, ids)
        unchanged: set[int] = set()
        for key_id, cipher in ciphers.items():
            under = secrets
            if len(ids) > 1:
                under = [one for one in secrets if one[0].project_key_id == key_id]
            holding = cipher.holding(
                [(row.key_name, row.version, row.ciphertext, value) for row, value in under]
            )
            unchanged.update(
                row.id for (row, _), holds in zip(under, holding, strict=True) if holds
            )
        return [one for one in secrets if one[0].id not in unchanged]

    async def _ciphers(
        self,
        repositories: Repositories,
        project_id: int,
        current: ProjectKey | None,
        ids: set[int],
    ) -> dict[int, ProjectCipher]:
        """The ciphers of the project's keys with these ids, by id, without unreadable ones."""
        keys = [current] if current is not None else []
        if not ids <= {key.id for key in keys}:
            # A rotation has given the project a new key, and has not reached all values yet.
            keys = await repositories.keys.project_keys_of(project_id)
        ciphers = {}
        for key in keys:
            if key.id in ids:
                try:
                    ciphers[key.id] = self._kit.vault.project(stored_key(key))
                except SecretUnreadable:
                    continue
        return ciphers

    async def _replace(
        self,
        repositories: Repositories,
        project_id: int,
        project_key: StoredProjectKey,
        secrets: Sequence[PresentSecret],
        call: Call | None,
    ) -> None:
        """Encrypt, store and record new values of present secrets."""
        cipher = self._kit.vault.project(project_key)
        texts = cipher.seal_all([(row.key_name, row.version + 1, value) for row, value in secrets])
        await self._sealing.keep(repositories, [row for row, _ in secrets])
        rows = await repositories.secrets.replace_all(
            [(row, project_key.id, text) for (row, _), text in zip(secrets, texts, strict=True)],
            _actor(call),
        )
        changes = [
            (secret_target(project_id, row.key_name), row.version + 1, guarded)
            for (row, _), guarded in zip(secrets, rows, strict=True)
        ]
        await self._kit.audit.record_alike(
            repositories, Kind.SECRET_UPDATED, project_id, _VALUE, changes, call
        )

    async def _add(
        self,
        repositories: Repositories,
        project_id: int,
        project_key: StoredProjectKey,
        secrets: Sequence[GivenSecret],
        call: Call | None,
        redact: Mapping[str, bool],
    ) -> None:
        """Encrypt, store and record secrets that are not present."""
        targets = [secret_target(project_id, key) for key, _ in secrets]
        last = await self._kit.guard.last_versions(repositories, targets)
        versions = [last.get(target, 0) + 1 for target in targets]
        texts = self._kit.vault.project(project_key).seal_all(
            [(key, version, value) for (key, value), version in zip(secrets, versions, strict=True)]
        )
        actor = _actor(call)
        rows = await repositories.secrets.add_all(
            project_id,
            [
                SealedSecret(
                    key,
                    version,
                    project_key.id,
                    text,
                    actor,
                    stored_redact(redact.get(key, True)),
                )
                for (key, _), version, text in zip(secrets, versions, texts, strict=True)
            ],
        )
        await self._kit.audit.record_alike(
            repositories,
            Kind.SECRET_CREATED,
            project_id,
            _VALUE,
            zip(targets, versions, rows, strict=True),
            call,
        )


def _sorted(
    secrets: Sequence[GivenSecret], updated: AbstractSet[str], unchanged: AbstractSet[str]
) -> SetKeys:
    keys = [key for key, _ in secrets]
    return SetKeys(
        [key for key in keys if key not in updated and key not in unchanged],
        [key for key in keys if key in updated],
        [key for key in keys if key in unchanged],
    )


def _actor(call: Call | None) -> str:
    """Who makes the versions: the principal of `call`, or the current one."""
    principal = current_principal() if call is None else call.context.run(current_principal)
    return principal.name
