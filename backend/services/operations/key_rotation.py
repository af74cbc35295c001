"""Rotation of keys while the service runs, in small units of work between other writes.

The keys show how far the rotation is, and its row shows that it is unfinished. So it continues
after any interruption.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from backend.crypto.envelope import SecretContext, StoredProjectKey
from backend.errors import RotationRunning, SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS, GuardedKind
from backend.repositories.guarded_rows import GuardedRow
from backend.repositories.key_rotation_repository import StoredRotation
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.sealed_repository import SEALED_KINDS, SealedKind, SealedValue
from backend.schemas.keys import KeyStatus, MasterKeyStatus, RotationProgress
from backend.services.base import Kit, UseCases, shielded_then, unit_of_work
from backend.services.kinds import Kind
from backend.services.operations.answer_rotation import AnswerRotation
from backend.services.operations.version_rotation import move_versions
from backend.services.projects.secret_sealing import SecretSealing, secret_target, stored_key
from backend.services.recording import AuditEvent

_KEYS_PER_UNIT = 50
_VALUES_PER_STEP = 20
_UNIT_SECONDS = 0.005
"""After this time a unit takes no more work, so that other writes don't wait long."""


P = TypeVar("P")


class RotationInterrupted(Exception):
    """The rotation was asked to stop between two steps; a later call continues it."""


@dataclass(frozen=True, slots=True)
class _ResumePoint:
    """Where emptying retired keys continues: at this key or the next one, with the values of this
    kind after this id."""

    key_id: int
    kind: int = 0
    """Index in `SEALED_KINDS`; after the last kind, the key itself is next."""
    value_id: int = 0


class KeyRotation(UseCases):
    """Wrapping all keys under the current master key, and replacing the keys of projects."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        super().__init__(kit)
        self._sealing = sealing
        self._answers = AnswerRotation(kit)

    async def status(self) -> KeyStatus:
        """What each master key protects, the current one first, and the newest rotation."""
        usage = {item.key_id: item for item in await self.repositories.keys.usage()}
        configured = self.kit.vault.master_key_ids
        keys = []
        for key_id in [*configured, *(key_id for key_id in usage if key_id not in configured)]:
            known = usage.get(key_id)
            used = known is not None and (
                known.installation or known.project_keys > 0 or known.answer_keys > 0
            )
            current = key_id in configured[:1]
            keys.append(
                MasterKeyStatus(
                    id=key_id,
                    configured=key_id in configured,
                    current=current,
                    installation=known.installation if known is not None else False,
                    project_keys=known.project_keys if known is not None else 0,
                    secrets=known.secrets if known is not None else 0,
                    answer_keys=known.answer_keys if known is not None else 0,
                    removable=not used and not current,
                )
            )
        latest = await self.repositories.rotations.latest()
        return KeyStatus(keys=keys, rotation=_progress(latest) if latest is not None else None)

    @unit_of_work
    async def begin(self, *, reencrypt: bool = False) -> RotationProgress:
        """A new rotation, or the running one if it is of the same kind; `run` does the work.
        Raises `RotationRunning` when a rotation of the other kind is running."""
        async with self.transaction() as repositories:
            running = await repositories.rotations.running()
            if running is not None and running.reencrypt != reencrypt:
                raise RotationRunning
            if running is None:
                running = await repositories.rotations.begin(
                    reencrypt=reencrypt, total=await repositories.rotations.wrapped_keys()
                )
                await self._record_rotation(repositories, Kind.KEYS_ROTATION_STARTED, running)
            return _progress(running)

    async def is_unfinished(self) -> bool:
        """Whether a rotation is unfinished."""
        return await self.repositories.rotations.running() is not None

    async def run(
        self,
        *,
        go_on: Callable[[], bool] = lambda: True,
        on_step: Callable[[RotationProgress], None] | None = None,
    ) -> RotationProgress | None:
        """Finish the running rotation, and return its progress; `None` when none is running.

        `go_on` and `on_step` are called between two steps; the rotation stops when `go_on` returns
        False. Don't run two calls at once: they would slow each other down. Raises
        `RotationInterrupted` when it was stopped, and `DatabaseError`; a later call continues.
        """
        rotation = await self.repositories.rotations.running()
        if rotation is None:
            return None

        async def repeat(step: Callable[[P], Awaitable[P | None]], at: P) -> None:
            following: P | None = at
            while following is not None:
                if not go_on():
                    raise RotationInterrupted
                following = await step(following)
                latest = await self.repositories.rotations.latest()
                if on_step is not None and latest is not None:
                    on_step(_progress(latest))

        await self._recount(rotation)
        await self._rewrap_installation(rotation)
        await repeat(partial(self._rewrap_keys, rotation), 0)
        if await self._answers.has_keys():
            await repeat(partial(self._answers.rewrap_keys, rotation), 0)
            if rotation.reencrypt:
                await self._answers.replace_key(rotation)
                await repeat(partial(self._answers.reseal, rotation), (0, 0))
        if rotation.reencrypt:
            await repeat(partial(self._replace_keys, rotation), 0)
            await repeat(partial(self._empty_keys, rotation), _ResumePoint(0))
        # Retired keys must not stay in memory after they were removed from the database.
        return await shielded_then(self._finish(rotation), self.kit.vault.forget)

    @unit_of_work
    async def _recount(self, rotation: StoredRotation) -> None:
        async with self.transaction() as repositories:
            await self._count(repositories, rotation, over=False)

    @unit_of_work
    async def _finish(self, rotation: StoredRotation) -> RotationProgress:
        async with self.transaction() as repositories:
            await self._count(repositories, rotation, over=True)
            await repositories.rotations.finish(rotation.id)
            await self._record_rotation(repositories, Kind.KEYS_ROTATION_FINISHED, rotation)
            latest = await repositories.rotations.latest()
            return _progress(latest or rotation)

    async def _count(
        self, repositories: Repositories, rotation: StoredRotation, *, over: bool
    ) -> None:
        """Set the counts from the keys; with `over`, keys that are left count as failed."""
        current = self.kit.vault.current_master_key_id
        pending = await repositories.rotations.pending(rotation, current)
        total = max(rotation.total, pending)
        await repositories.rotations.set_counts(
            rotation.id, total=total, done=total - pending, failed=pending if over else 0
        )

    @unit_of_work
    async def _rewrap_installation(self, rotation: StoredRotation) -> None:
        async with self.transaction() as repositories:
            installation = await repositories.keys.installation()
            if installation is None:
                return
            wrapped = self.kit.vault.rewrap_installation_key(installation.wrapped_key)
            if wrapped is not None:
                current = self.kit.vault.current_master_key_id
                await repositories.rotations.rewrap_installation(current, wrapped)
                await repositories.rotations.advance(rotation.id, done=1, failed=0)

    @unit_of_work
    async def _rewrap_keys(self, rotation: StoredRotation, after_id: int) -> int | None:
        async with self.transaction() as repositories:
            current = self.kit.vault.current_master_key_id
            keys = await repositories.rotations.keys_under_others(current, after_id, _KEYS_PER_UNIT)
            done = failed = 0
            for key in keys:
                try:
                    wrapped = self.kit.vault.rewrap(stored_key(key)) or key.wrapped
                except SecretUnreadable:
                    failed += 1
                    continue
                await repositories.keys.set_wrapped(key.id, current, wrapped)
                done += 1
            if not rotation.reencrypt:
                await repositories.rotations.advance(rotation.id, done=done, failed=failed)
            return keys[-1].id if keys else None

    @unit_of_work
    async def _replace_keys(self, rotation: StoredRotation, after_id: int) -> int | None:
        """Give the next projects new keys. Their values are encrypted again later."""
        async with self.transaction() as repositories:
            keys = await repositories.rotations.keys_to_replace(
                rotation.last_old_key_id, after_id, _KEYS_PER_UNIT
            )
            failed = 0
            for key in keys:
                if not self.kit.vault.can_unwrap(stored_key(key)):
                    failed += 1
                    continue
                await repositories.rotations.retire(key.id)
                await self._sealing.current_key(repositories, key.project_id)
            if failed:
                await repositories.rotations.advance(rotation.id, done=0, failed=failed)
            return keys[-1].id if keys else None

    @unit_of_work
    async def _empty_keys(self, rotation: StoredRotation, at: _ResumePoint) -> _ResumePoint | None:
        """Encrypt the values under the next retired keys again, under their projects' current
        keys, and remove retired keys that no value needs."""
        deadline = time.monotonic() + _UNIT_SECONDS
        async with self.transaction() as repositories:
            while True:
                found = await repositories.rotations.keys_to_empty(
                    rotation.last_old_key_id, at.key_id - 1, 1
                )
                if not found:
                    return None
                key = found[0]
                at = at if at.key_id == key.id else _ResumePoint(key.id)
                if at.kind == len(SEALED_KINDS):
                    gone = await repositories.rotations.remove_unused(key.id)
                    await repositories.rotations.advance(rotation.id, done=gone, failed=not gone)
                    at = _ResumePoint(key.id + 1)
                else:
                    at = await self._move_values(repositories, key, at, deadline)
                if time.monotonic() > deadline:
                    return at

    async def _move_values(
        self, repositories: Repositories, key: ProjectKey, at: _ResumePoint, deadline: float
    ) -> _ResumePoint:
        kind = SEALED_KINDS[at.kind]
        if kind.guarded is None:
            return await self._move_versions(repositories, key, at, deadline)
        of = (key.id, key.project_id)
        values = await repositories.sealed.under(kind, of, at.value_id, _VALUES_PER_STEP)
        if not values:
            return _ResumePoint(key.id, at.kind + 1)
        # A value's project exists, so a key can be made for it.
        new_key = await self._sealing.current_key(repositories, key.project_id)
        forged = await self.kit.guard.forged(
            repositories, kind.guarded, [value.id for value in values]
        )
        events: list[AuditEvent] = []
        for value in values:
            sealed = None
            if value.id not in forged:
                sealed = self._sealed_anew(stored_key(key), new_key, kind, value)
            if sealed is not None:
                await repositories.sealed.move(kind, value, new_key.id, sealed)
                events.append(_reencrypted(kind.guarded, value))
            at = _ResumePoint(key.id, at.kind, value.id)
            if time.monotonic() > deadline:
                break
        await self.kit.audit.record_all(repositories, events)
        return at

    async def _move_versions(
        self, repositories: Repositories, key: ProjectKey, at: _ResumePoint, deadline: float
    ) -> _ResumePoint:
        versions = await repositories.secret_versions.under(
            key.project_id, key.id, at.value_id, _VALUES_PER_STEP
        )
        if not versions:
            return _ResumePoint(key.id, at.kind + 1)
        new_key = await self._sealing.current_key(repositories, key.project_id)
        last_id = await move_versions(
            self.kit, repositories, stored_key(key), new_key, versions, deadline
        )
        return _ResumePoint(key.id, at.kind, last_id)

    def _sealed_anew(
        self, old: StoredProjectKey, new: StoredProjectKey, kind: SealedKind, value: SealedValue
    ) -> str | None:
        """The value sealed under the new key; `None` when it can't be read."""
        context = SecretContext(value.project_id, value.name, value.version, kind.purpose)
        try:
            return self.kit.vault.seal(
                new, context, self.kit.vault.open(old, context, value.ciphertext)
            )
        except SecretUnreadable:
            return None

    async def _record_rotation(
        self, repositories: Repositories, kind: Kind, rotation: StoredRotation
    ) -> None:
        await self.kit.audit.record(
            repositories,
            kind,
            target=f"keys/rotations/{rotation.id}",
            fields=["reencrypt"] if rotation.reencrypt else [],
        )


def _reencrypted(kind: GuardedKind, value: SealedValue) -> AuditEvent:
    """The audit event for a value that was encrypted under another key. The row's version stays,
    because the value does."""
    row = GuardedRow(kind, value.id)
    if kind is SECRETS:
        target, what = secret_target(value.project_id, value.name), Kind.SECRET_REENCRYPTED
    else:
        target, what = f"webhooks/{value.id}", Kind.WEBHOOK_REENCRYPTED
    return AuditEvent(what, target, value.project_id, version=value.row_version, row=row)


def _progress(rotation: StoredRotation) -> RotationProgress:
    return RotationProgress(
        id=rotation.id,
        status="running" if rotation.finished_at is None else "finished",
        reencrypt=rotation.reencrypt,
        total=rotation.total,
        done=rotation.done,
        failed=rotation.failed,
        started_at=rotation.started_at,
        finished_at=rotation.finished_at,
    )
