"""Checking that all encrypted keys and values can be read."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from backend.crypto.envelope import SecretContext
from backend.repositories import Repositories
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.sealed_repository import SEALED_KINDS, SealedKind, SealedValue
from backend.services.base import UseCases, unit_of_work
from backend.services.idempotency.answer_sealing import AnswerSealing
from backend.services.projects.secret_sealing import stored_key

_VALUES_PER_STEP = 500


@dataclass(frozen=True, slots=True)
class CheckedPage:
    """The result for some rows, and where the next page starts."""

    checked: int
    unreadable: tuple[str, ...]
    """Descriptions of the rows that could not be decrypted."""
    keys: int
    """The project keys of this page."""
    last_id: int | None
    """The id of the last row that was gone through; None when none was left."""


class EncryptionCheck(UseCases):
    """Checks page by page, so that no snapshot prevents the truncation of the write-ahead log."""

    @unit_of_work(read_only=True)
    async def project_keys(self, *, after_id: int, limit: int) -> CheckedPage:
        """Try to unwrap the project keys that follow `after_id` in the order of their ids."""
        async with self.transaction() as repositories:
            keys = await repositories.keys.project_keys_after(after_id, limit)
        bad = [key for key in keys if not self.kit.vault.can_unwrap(stored_key(key))]
        return CheckedPage(
            len(keys),
            tuple(f"key {key.id} of project {key.project_id}" for key in bad),
            len(keys),
            keys[-1].id if keys else None,
        )

    @unit_of_work(read_only=True)
    async def values(self, *, after_id: int, limit: int) -> CheckedPage:
        """Try to decrypt all values under the project keys that follow `after_id` in the order of
        their ids."""
        checked = 0
        bad: list[str] = []
        async with self.transaction() as repositories:
            keys = await repositories.keys.project_keys_after(after_id, limit)
            for key in keys:
                for kind in SEALED_KINDS:
                    async for value in _values(repositories, kind, key):
                        checked += 1
                        if not self._can_open(key, kind, value):
                            bad.append(f"{kind.purpose} {value.name} of project {value.project_id}")
        return CheckedPage(checked, tuple(bad), len(keys), keys[-1].id if keys else None)

    @unit_of_work(read_only=True)
    async def answers(self, *, after_id: int, limit: int) -> CheckedPage:
        """Try to decrypt the stored answers that follow `after_id` in the order of their ids."""
        async with self.transaction() as repositories:
            answers = await repositories.answers.after(after_id, limit)
        sealing = AnswerSealing(self.kit.vault)
        bad = [answer.id for answer in answers if not sealing.is_readable(answer)]
        return CheckedPage(
            len(answers),
            tuple(f"stored answer {id}" for id in bad),
            len(answers),
            answers[-1].id if answers else None,
        )

    def _can_open(self, key: ProjectKey, kind: SealedKind, value: SealedValue) -> bool:
        context = SecretContext(value.project_id, value.name, value.version, kind.purpose)
        return self.kit.vault.is_readable(stored_key(key), context, value.ciphertext)


async def _values(
    repositories: Repositories, kind: SealedKind, key: ProjectKey
) -> AsyncIterator[SealedValue]:
    """All values of a kind under a project key."""
    after_id = 0
    of = (key.id, key.project_id)
    while values := await repositories.sealed.under(kind, of, after_id, _VALUES_PER_STEP):
        for value in values:
            yield value
        after_id = values[-1].id
