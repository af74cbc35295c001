"""The rotation of keys in the service: what it changes, what it keeps, and what stops it."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.errors import RotationRunning, SecretUnreadable
from backend.repositories.sealed_repository import SEALED_KINDS
from backend.runtime import StartRefused
from backend.schemas.keys import RotationProgress
from backend.schemas.secrets import SecretCreate, SecretUpsertResult
from backend.services.audit.verification import verify_audit
from backend.services.database_service import DatabaseService
from backend.services.operations import rotation_runner
from backend.services.operations.key_rotation import RotationInterrupted
from backend.services.operations.rotation_runner import RotationRunner
from database.errors import DatabaseFull
from tests.keys.support import (
    NEW,
    NEXT,
    OLD,
    fill,
    key_rows,
    read_everything,
    sealed_texts,
    started,
)


async def rotated(service: DatabaseService, *, reencrypt: bool = False) -> RotationProgress:
    await service.rotation.begin(reencrypt=reencrypt)
    result = await service.rotation.run()
    assert result is not None
    assert result.status == "finished"
    return result


async def test_every_key_comes_under_the_first_master_key(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service)
    token = (tmp_path / "admin.token").read_text().strip()
    before = await read_everything(runtime.service)
    values = runtime.manager.execute_query("SELECT * FROM project_secrets ORDER BY id")
    await runtime.stop()

    runtime = await started(tmp_path, NEW, OLD)
    service = runtime.service
    result = await rotated(service)
    assert (result.total, result.done, result.failed) == (4, 4, 0)
    assert {row["master_key_id"] for row in key_rows(runtime)} == {"new"}
    # The sealed values don't change.
    assert runtime.manager.execute_query("SELECT * FROM project_secrets ORDER BY id") == values
    assert await read_everything(service) == before
    actions = [entry.action for entry in (await service.audit.page(limit=2)).entries]
    assert actions == ["keys.rotation_finished", "keys.rotation_started"]
    await runtime.stop()

    # The old key can be removed. Tokens and the audit still work.
    runtime = await started(tmp_path, NEW)
    assert await read_everything(runtime.service) == before
    assert (await runtime.service.tokens.authenticate(token)).name == "admin"
    assert verify_audit(runtime.manager, runtime.service.audit.chain) is None
    await runtime.stop()


async def test_a_key_that_is_still_in_use_can_not_be_dropped(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service, projects=120)
    await runtime.stop()
    runtime = await started(tmp_path, NEW, OLD)
    service = runtime.service
    await service.rotation.begin()
    # After these steps the installation's key is under the new master key, and some others are not.
    steps = iter([True, True, False])
    with pytest.raises(RotationInterrupted):
        await service.rotation.run(go_on=lambda: next(steps))
    used = {row["master_key_id"] for row in key_rows(runtime)}
    assert used == {"old", "new"}
    status = await service.rotation.status()
    assert [(key.id, key.removable) for key in status.keys] == [("new", False), ("old", False)]
    await runtime.stop()
    with pytest.raises(StartRefused, match="master key old is still in use but missing"):
        await started(tmp_path, NEW)

    runtime = await started(tmp_path, NEW, OLD)
    await runtime.service.rotation.run()
    status = await runtime.service.rotation.status()
    assert [(key.id, key.removable) for key in status.keys] == [("new", False), ("old", True)]
    await runtime.stop()
    await (await started(tmp_path, NEW)).stop()


@pytest.mark.parametrize("projects", [12, pytest.param(60, marks=pytest.mark.long_form)])
async def test_it_goes_on_wherever_it_was_interrupted(tmp_path: Path, projects: int) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service, projects=projects, secrets=1)
    before = await read_everything(runtime.service)
    await runtime.stop()
    old_ids = set()
    result = None
    # How far a step comes depends on the speed of the machine.
    for step in range(600):
        runtime = await started(tmp_path, NEW, OLD)
        service = runtime.service
        if step == 0:
            old_ids = {row["id"] for row in key_rows(runtime)}
            await service.rotation.begin(reencrypt=True)
        left = [True] * (step % 3 + 1) + [False]
        with suppress(RotationInterrupted):
            result = await service.rotation.run(go_on=partial(left.pop, 0))
        assert await read_everything(service) == before
        await runtime.stop()
        if result is not None:
            break
    assert result is not None
    assert (result.total, result.done, result.failed) == (projects + 1, projects + 1, 0)
    runtime = await started(tmp_path, NEW)
    assert not old_ids & {row["id"] for row in key_rows(runtime)}
    assert await read_everything(runtime.service) == before
    await runtime.stop()


async def test_reencryption_gives_each_project_a_new_key(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    service = runtime.service
    await fill(service, projects=5, secrets=30)
    before = await read_everything(service)
    old_rows, old_texts = key_rows(runtime), sealed_texts(runtime)
    metadata = [await service.secrets.page(id, limit=500, cursor=None) for id in range(1, 6)]
    result = await rotated(service, reencrypt=True)
    assert (result.total, result.done, result.failed) == (6, 6, 0)
    rows = key_rows(runtime)
    assert len(rows) == 5
    assert not {row["id"] for row in rows} & {row["id"] for row in old_rows}
    assert all(row["retired_at"] is None for row in rows)
    # Only the installation's key, which was under this master key already, is unchanged.
    assert len(set(sealed_texts(runtime)) & set(old_texts)) == 1
    assert await read_everything(service) == before
    # Clients see no change: neither in versions nor in times.
    assert metadata == [
        await service.secrets.page(id, limit=500, cursor=None) for id in range(1, 6)
    ]
    await runtime.stop()


async def test_every_value_can_be_read_and_written_meanwhile(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service, projects=30, secrets=8)
    await runtime.stop()
    runtime = await started(tmp_path, NEW, OLD)
    service = runtime.service
    over = asyncio.Event()

    async def write(project: int) -> str:
        number = 0
        while not over.is_set():
            number += 1
            value = SecretStr(f"written {number}")
            await service.secrets.put(project, "KEY_1", value)
            assert (await service.secrets.reveal(project, "KEY_1")).value == f"written {number}"
            await service.secrets.upsert(project, [SecretCreate(key=f"N{number % 7}", value=value)])
        return f"written {number}"

    async def read() -> int:
        rounds = 0
        while not over.is_set():
            found = await read_everything(service)
            assert len(found) >= 30 * 8 + 60
            rounds += 1
        return rounds

    others = [asyncio.ensure_future(write(project)) for project in (1, 15, 30)]
    reader = asyncio.ensure_future(read())
    for reencrypt in (False, True, True):
        result = await rotated(service, reencrypt=reencrypt)
        assert result.failed == 0
        assert result.done == result.total
    over.set()
    assert await reader > 0
    for project, last in zip((1, 15, 30), await asyncio.gather(*others), strict=True):
        assert (await service.secrets.reveal(project, "KEY_1")).value == last
    assert {row["master_key_id"] for row in key_rows(runtime)} == {"new"}
    assert verify_audit(runtime.manager, service.audit.chain) is None
    await runtime.stop()


async def test_what_can_not_be_read_is_counted_and_left_alone(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    service, manager = runtime.service, runtime.manager
    await fill(service, projects=3)
    manager.execute_command("UPDATE project_keys SET wrapped = 'x' WHERE project_id = 1")
    manager.execute_command(
        "UPDATE project_secrets SET ciphertext = 'y' WHERE project_id = 2 AND key_name = 'KEY_1'"
    )
    service.kit.vault.forget()
    result = await rotated(service, reencrypt=True)
    assert (result.total, result.done, result.failed) == (4, 2, 2)
    rows = {row["project_id"]: row for row in key_rows(runtime) if row["retired_at"] is None}
    assert rows[1]["wrapped"] == "x"
    # The other secrets of the second project are under its new key.
    retired = [row for row in key_rows(runtime) if row["retired_at"] is not None]
    assert [row["project_id"] for row in retired] == [2]
    assert (await service.secrets.reveal(2, "KEY_0")).value.startswith("value 0")
    with pytest.raises(SecretUnreadable):
        await service.secrets.reveal(2, "KEY_1")
    # After a new value it is readable, and the next rotation removes the old key.
    await service.secrets.put(2, "KEY_1", SecretStr("new"))
    result = await rotated(service, reencrypt=True)
    assert result.failed == 1
    assert [row for row in key_rows(runtime) if row["retired_at"] is not None] == []
    await runtime.stop()


async def test_values_under_old_and_new_keys_are_compared_alike(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    service, manager = runtime.service, runtime.manager
    await fill(service, projects=1)
    values = {f"KEY_{n}": (await service.secrets.reveal(1, f"KEY_{n}")).value for n in (0, 1)}
    now = "2026-01-02T03:04:05.678901Z"

    def set_all(**changed: str) -> Awaitable[SecretUpsertResult]:
        secrets = [
            SecretCreate(key=k, value=SecretStr(v)) for k, v in {**values, **changed}.items()
        ]
        return service.secrets.upsert(1, secrets)

    # As in the middle of a rotation: a retired key that still encrypts values, and a new one.
    manager.execute_command("UPDATE project_keys SET retired_at = ? WHERE project_id = 1", (now,))
    assert await set_all(KEY_0="new") == SecretUpsertResult(created=0, updated=1, unchanged=1)
    assert await set_all(KEY_0="new") == SecretUpsertResult(created=0, updated=0, unchanged=2)
    assert (await service.secrets.reveal(1, "KEY_0")).value == "new"
    keys = [row for row in key_rows(runtime) if row["project_id"] == 1]
    assert [row["retired_at"] for row in keys] == [now, None]

    # A value under an unreadable key is unknown, so it is written again.
    manager.execute_command("UPDATE project_keys SET wrapped = 'x' WHERE id = ?", (keys[0]["id"],))
    service.kit.vault.forget()
    assert await set_all(KEY_0="new") == SecretUpsertResult(created=0, updated=1, unchanged=1)
    assert (await service.secrets.reveal(1, "KEY_1")).value == values["KEY_1"]
    await runtime.stop()


async def test_only_one_kind_of_rotation_runs_at_a_time(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    service = runtime.service
    begun = await service.rotation.begin()
    assert (await service.rotation.begin()).id == begun.id
    with pytest.raises(RotationRunning):
        await service.rotation.begin(reencrypt=True)
    await service.rotation.run()
    assert await service.rotation.run() is None
    assert (await service.rotation.begin(reencrypt=True)).id != begun.id
    await runtime.stop()


async def test_a_rotation_that_was_interrupted_goes_on_by_itself(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service)
    await runtime.stop()
    runtime = await started(tmp_path, NEW, OLD)
    await runtime.service.rotation.begin()
    await runtime.stop()
    runtime = await started(tmp_path, NEXT, NEW, OLD)
    runner = RotationRunner(runtime.service.rotation)
    await runner.resume()
    await runner.start()
    assert {row["master_key_id"] for row in key_rows(runtime)} == {"next"}
    assert not await runtime.service.rotation.is_unfinished()
    await runner.stop()
    await runtime.stop()


async def test_a_rotation_goes_on_soon_after_room_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rotation_runner, "RETRY_SECONDS", 0.01)
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service)
    await runtime.stop()
    runtime = await started(tmp_path, NEW, OLD)
    await runtime.service.rotation.begin()
    go_on, refused = runtime.service.rotation.run, 0

    async def continue_rotation(**options: Any) -> RotationProgress | None:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise DatabaseFull("SQLITE_FULL")
        return await go_on(**options)

    monkeypatch.setattr(runtime.service.rotation, "run", continue_rotation)
    async with asyncio.timeout(30):
        await RotationRunner(runtime.service.rotation).start()
    assert refused == 2
    assert not await runtime.service.rotation.is_unfinished()
    assert {row["master_key_id"] for row in key_rows(runtime)} == {"new"}
    assert caplog.text.count("was interrupted and will go on") == 1
    await runtime.stop()


async def test_what_stops_a_rotation_for_good_is_logged_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = await started(tmp_path, OLD)
    await runtime.stop()
    runtime = await started(tmp_path, NEW, OLD)
    await runtime.manager.async_execute_command(
        "UPDATE installation SET wrapped_key = ?", ("sr1:A256GCM:old:AAAA",)
    )
    runner = RotationRunner(runtime.service.rotation)
    for _ in range(2):
        with pytest.raises(SecretUnreadable):
            await runner.rotate(reencrypt=False)
    assert caplog.text.count("a key rotation failed: SecretUnreadable") == 1
    await runtime.stop()


async def test_a_purge_destroys_the_project_s_keys(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    service = runtime.service
    await fill(service, projects=2)
    [gone] = [row for row in key_rows(runtime) if row["project_id"] == 1]
    await service.projects.purge(1)
    assert [row["project_id"] for row in key_rows(runtime)] == [2]
    assert gone["wrapped"] not in sealed_texts(runtime)
    assert len(sealed_texts(runtime)) == 4 + 2 + 1 + 1
    await runtime.stop()


async def test_whatever_is_sealed_is_known_to_the_rotation(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    rows = runtime.manager.execute_query(
        "SELECT m.name AS name FROM sqlite_master AS m, pragma_table_info(m.name) AS f"
        " WHERE m.type = 'table' AND f.name = 'project_key_id'"
    )
    assert {row["name"] for row in rows} == {kind.table for kind in SEALED_KINDS}
    await runtime.stop()
