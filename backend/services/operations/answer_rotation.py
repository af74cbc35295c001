"""The part of a key rotation that concerns stored answers, in small units of work."""

from backend.errors import SecretUnreadable
from backend.repositories.key_rotation_repository import StoredRotation
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.idempotency.answer_sealing import AnswerSealing, as_project_key

_KEYS_PER_UNIT = 50
_ANSWERS_PER_UNIT = 50


class AnswerRotation(UseCases):
    """Wrapping the keys for answers under the current master key, and replacing them."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._sealing = AnswerSealing(kit.vault)

    async def has_keys(self) -> bool:
        """Whether there is anything to do: whether an answer was ever stored."""
        return bool(await self.repositories.answers.keys_after(0, 1))

    @unit_of_work
    async def rewrap_keys(self, rotation: StoredRotation, after_id: int) -> int | None:
        """Wrap the next keys. Returns the last one's id; `None` when no key was left."""
        async with self.transaction() as repositories:
            current = self.kit.vault.current_master_key_id
            keys = await repositories.answers.keys_after(after_id, _KEYS_PER_UNIT)
            done = failed = 0
            for key in keys:
                try:
                    wrapped = self.kit.vault.rewrap(as_project_key(key))
                except SecretUnreadable:
                    failed += 1
                    continue
                if wrapped is not None:
                    await repositories.answers.set_wrapped(key.id, current, wrapped)
                    done += 1
            if not rotation.reencrypt:
                await repositories.rotations.advance(rotation.id, done=done, failed=failed)
            return keys[-1].id if keys else None

    @unit_of_work
    async def replace_key(self, rotation: StoredRotation) -> None:
        """Seal new answers under a new key. Those that are stored are sealed again later."""
        async with self.transaction() as repositories:
            key = await repositories.answers.current_key()
            if key is not None and key.id <= rotation.last_old_answer_key_id:
                await repositories.answers.retire(key.id)
                await self._sealing.new_key(repositories)

    @unit_of_work
    async def reseal(
        self, rotation: StoredRotation, after: tuple[int, int]
    ) -> tuple[int, int] | None:
        """Seal the next answers under the current key. Returns the ids of the last one's key and of
        itself; `None` when none was left, and the old keys are removed that no answer needs."""
        last_old_id = rotation.last_old_answer_key_id
        async with self.transaction() as repositories:
            answers = await repositories.answers.under_old_keys(
                last_old_id, after, _ANSWERS_PER_UNIT
            )
            if not answers:
                gone, left = await repositories.answers.remove_unused_keys(last_old_id)
                await repositories.rotations.advance(rotation.id, done=gone, failed=left)
                return None
            key = await self._sealing.current_key(repositories)
            for answer in answers:
                sealed = self._sealing.sealed_anew(answer, key)
                if sealed is not None:
                    await repositories.answers.move(answer.id, key.id, sealed)
            return answers[-1].key.id, answers[-1].id
