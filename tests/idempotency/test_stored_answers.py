"""What is stored of answers: never in clear, for 24 hours, and under keys that can be replaced."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from backend.runtime import StartRefused
from backend.services.idempotency.answer_sealing import Answer
from backend.services.idempotency.idempotency import Request, request_hash
from database.base import utc_now
from tests.idempotency.support import is_replayed, post, said, stored_answers
from tests.keys.support import NEW, OLD, started
from tests.support.clocks import SetClock
from tests.support.http import manager_of, new_project, problem, service_of
from tests.support.plans import Explaining, is_careless

TOKEN = {"name": "t", "scopes": ["logs:write"]}
KEY = "a-key-that-may-be-secret"


def request(key_mac: bytes = b"m" * 16, body: bytes = b"{}") -> Request:
    return Request(key_mac, request_hash(b"POST", b"/", b"", b"", body), "POST /", "admin", {})


async def made(status: int = 201, body: bytes = b'{"id":1}') -> Answer:
    return Answer(status, [(b"location", b"/1"), (b"content-type", b"application/json")], body)


async def test_a_token_comes_again_and_is_nowhere_in_clear(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    first = await post(client, "/api/tokens", TOKEN, KEY)
    again = await post(client, "/api/tokens", TOKEN, KEY)
    assert said(again) == said(first)
    assert again.headers["cache-control"] == "no-store"
    token = first.json()["token"].encode()
    backup = await client.post("/api/backups")
    assert backup.status_code == 201
    directory = manager_of(application).config.path.parent
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert {"strongroom.db", "strongroom.db-wal", backup.json()["name"]} <= {p.name for p in files}
    for path in files:
        content = path.read_bytes()
        assert token not in content, path
        assert token.split(b"_")[2] not in content, path
        assert KEY.encode() not in content, path


async def test_it_is_repeated_for_24_hours(client: httpx.AsyncClient, application: FastAPI) -> None:
    service = service_of(application)
    service.clock = clock = SetClock()
    clock.now = utc_now()
    body = {"level": "INFO", "message": "m"}
    await post(client, "/api/logs", body)
    clock.now += timedelta(hours=24) - timedelta(seconds=1)
    assert is_replayed(await post(client, "/api/logs", body))
    clock.now += timedelta(seconds=1)
    # The pruner has not come yet.
    assert len(stored_answers(application)) == 1
    assert not is_replayed(await post(client, "/api/logs", body))
    assert [row["id"] for row in stored_answers(application)] == [1]
    assert is_replayed(await post(client, "/api/logs", body))


async def test_the_pruner_removes_what_is_too_old(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    service = service_of(application)
    service.clock = clock = SetClock()
    clock.now = utc_now()
    for key in "ab":
        await post(client, "/api/logs", {"level": "INFO", "message": "m"}, key)
    # The removal of the start must be over, or the request below would join it.
    assert (await client.post("/api/retention/prune")).json()["status"] == "completed"
    clock.now += timedelta(hours=24, seconds=1)
    await post(client, "/api/logs", {"level": "INFO", "message": "m"}, "c")
    plan = (await client.get("/api/retention")).json()["would_remove"]["answers"]
    assert plan["rows"] == 2
    assert plan["bytes"] > 300
    removed = (await client.post("/api/retention/prune")).json()["removed"]
    assert removed["answers"] == 2
    assert [row["id"] for row in stored_answers(application)] == [3]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE stored_answers SET sealed = zeroblob(40)",
        "UPDATE stored_answers SET created_at = '2099-01-01T00:00:00.000000Z'",
        "UPDATE answer_keys SET wrapped = 'x'",
    ],
)
async def test_an_answer_that_was_changed_outside_is_not_repeated(
    client: httpx.AsyncClient, application: FastAPI, change: str
) -> None:
    body = new_project()
    await post(client, "/api/projects", body)
    manager_of(application).execute_command(change)
    problem(await post(client, "/api/projects", body), "changed_outside")
    page = await service_of(application).encryption_check.answers(after_id=0, limit=10)
    assert (page.checked, page.unreadable) == (1, ("stored answer 1",))
    # Others are not concerned.
    assert (await post(client, "/api/projects", new_project(), "another")).status_code == 201


async def test_an_answer_does_not_open_in_the_place_of_another(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    for key in ("a", "b"):
        await post(client, "/api/tokens", TOKEN, key)
    first = stored_answers(application)[0]
    manager_of(application).execute_command(
        "UPDATE stored_answers SET sealed = ? WHERE id = 2", (first["sealed"],)
    )
    problem(await post(client, "/api/tokens", TOKEN, "b"), "changed_outside")


async def test_an_answer_that_another_process_stores_first_is_the_answer(
    application: FastAPI,
) -> None:
    service = service_of(application).idempotency
    asked = request()
    made_times = 0

    async def late() -> Answer:
        nonlocal made_times
        made_times += 1
        # Inside the unit of work, as if it came from another process after the look-up.
        if made_times == 1:
            async with service.transaction() as repositories:
                key = await service.sealing.current_key(repositories)
                await repositories.executor.execute(
                    "INSERT INTO stored_answers (key_mac, answer_key_id, sealed, created_at)"
                    " VALUES (?, ?, zeroblob(28), '2026-01-01T00:00:00.000000Z')",
                    (asked.key_mac, key.id),
                )
        return await made()

    # The other answer is undone with the unit here, so the second try makes it.
    assert await service.answer(asked, late) is None
    assert made_times >= 2
    assert (await service.answer(asked, late)) == await made()


@pytest.mark.parametrize("reencrypt", [False, True])
async def test_a_rotation_goes_through_stored_answers(tmp_path: Path, reencrypt: bool) -> None:
    runtime = await started(tmp_path, OLD)
    for number in range(120):
        await runtime.service.idempotency.answer(request(b"%016d" % number), made)
    [key] = runtime.manager.execute_query("SELECT * FROM answer_keys")
    before = runtime.manager.execute_query("SELECT id, sealed FROM stored_answers ORDER BY id")
    await runtime.stop()

    runtime = await started(tmp_path, NEW, OLD)
    service = runtime.service
    status = await service.rotation.status()
    assert [(k.id, k.answer_keys, k.removable) for k in status.keys] == [
        ("new", 0, False),
        ("old", 1, False),
    ]
    await service.rotation.begin(reencrypt=reencrypt)
    result = await service.rotation.run()
    assert result is not None
    assert (result.total, result.done, result.failed) == (2, 2, 0)
    [now] = runtime.manager.execute_query("SELECT * FROM answer_keys")
    assert (now["id"] == key["id"]) == (not reencrypt)
    after = runtime.manager.execute_query("SELECT id, sealed FROM stored_answers ORDER BY id")
    assert (after == before) == (not reencrypt)
    if reencrypt:
        assert not {row["sealed"] for row in after} & {row["sealed"] for row in before}
    await runtime.stop()

    runtime = await started(tmp_path, NEW)
    for number in range(120):
        asked = request(b"%016d" % number)
        assert await runtime.service.idempotency.answer(asked, made) == await made()
    await runtime.stop()


async def test_a_master_key_that_answers_need_is_missed(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    await runtime.service.idempotency.answer(request(), made)
    runtime.manager.execute_command("UPDATE installation SET master_key_id = master_key_id")
    await runtime.stop()
    with pytest.raises(StartRefused, match="master key old is still in use but missing"):
        await started(tmp_path, NEW)


async def test_every_table_that_refers_to_keys_of_answers_is_rotated(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    rows = runtime.manager.execute_query(
        "SELECT m.name AS name FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f"
        " WHERE m.type = 'table' AND f.\"table\" = 'answer_keys'"
    )
    assert {row["name"] for row in rows} == {"stored_answers"}
    await runtime.stop()


async def test_every_statement_uses_an_index(application: FastAPI) -> None:
    service = service_of(application)
    for number in range(3):
        await service.idempotency.answer(request(b"%016d" % number), made)
    explaining = Explaining(manager_of(application).async_pool)
    answers = service.repositories.answers.using(explaining)
    await answers.find(b"m" * 16)
    await answers.stored_macs([b"m" * 16, b"n" * 16])
    await answers.current_key()
    await answers.keys_after(0, 5)
    await answers.under_old_keys(1, (0, 0), 5)
    await answers.after(0, 5)
    await answers.project_of("project_id", 1)
    await answers.project_of("run_id", 1)
    await answers.remove_of_project(1)
    assert [step for step in explaining.steps() if is_careless(step)] == []
