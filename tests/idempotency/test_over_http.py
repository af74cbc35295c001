"""What a client sees of idempotency keys."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from backend.services.idempotency import idempotency
from tests.idempotency.support import HEADER, is_replayed, post, said, stored_answers
from tests.support.api import Api
from tests.support.clients import client_of, new_token
from tests.support.http import manager_of, new_project, problem, row_counts, service_of


async def test_twenty_at_once_with_one_key_have_one_effect(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    body = new_project(secrets=[{"key": "A", "value": "v"}])
    answers = await asyncio.gather(*(post(client, "/api/projects", body) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [201] * 20
    assert sum(map(is_replayed, answers)) == 19
    assert all(said(answer) == said(answers[0]) for answer in answers)
    counts = row_counts(manager_of(application))
    assert (counts["projects"], counts["project_secrets"], counts["stored_answers"]) == (1, 1, 1)
    # Replays are no changes, so nothing more is recorded.
    created = [e["action"] for e in (await client.get("/api/audit")).json()["entries"]]
    assert created.count("project.created") == 1
    assert service_of(application).idempotency.replays == 19
    assert "strongroom_idempotency_replays_total 19.0" in (await client.get("/metrics")).text


async def test_another_request_under_the_key_is_refused(client: httpx.AsyncClient) -> None:
    body = new_project()
    assert (await post(client, "/api/projects", body)).status_code == 201
    others = [
        await post(client, "/api/projects", new_project()),
        await post(client, "/api/projects/1/restore"),
        await post(client, "/api/logs", {"level": "INFO", "message": "m"}),
    ]
    for other in others:
        problem(other, "idempotency_key_reused")
    assert is_replayed(await post(client, "/api/projects", body))


async def test_the_media_type_counts_without_its_parameters(client: httpx.AsyncClient) -> None:
    answers = [
        await client.post(
            "/api/logs",
            content=b'{"level": "INFO", "message": "m"}',
            headers={"Content-Type": media, HEADER: "k"},
        )
        for media in ("application/json", "Application/JSON; charset=utf-8")
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert is_replayed(answers[1])


async def test_an_error_stores_nothing(client: httpx.AsyncClient, application: FastAPI) -> None:
    body = new_project()
    wrong = await post(client, "/api/projects", {**body, "name": ""})
    problem(wrong, "validation_failed")
    await client.post("/api/projects", json=body)
    problem(await post(client, "/api/projects", body), "project_exists")
    assert stored_answers(application) == []
    await client.delete("/api/projects/1")
    assert (await post(client, "/api/projects", body)).status_code == 201


@pytest.mark.parametrize("key", ["", " ", "two words", "\u00e9", "x" * 256])
async def test_a_key_has_visible_characters(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post(
        "/api/projects", json=new_project(), headers={HEADER.encode(): key.encode("latin-1")}
    )
    assert "1 to 255 visible ASCII characters" in problem(answer, "bad_request")["detail"]
    assert (await client.get("/api/projects")).json()["projects"] == []


async def test_a_key_is_sent_once(client: httpx.AsyncClient) -> None:
    headers = [(HEADER, "a"), (HEADER, "b")]
    answer = await client.post("/api/projects", json=new_project(), headers=headers)
    problem(answer, "bad_request")
    longest = await post(client, "/api/projects", new_project(), "~" * 255)
    assert longest.status_code == 201


async def test_a_key_belongs_to_its_token(client: httpx.AsyncClient, application: FastAPI) -> None:
    body = {"level": "INFO", "message": "m"}
    token = await new_token(client, "logs:write")
    async with client_of(application, token) as other:
        answers = [await post(sender, "/api/logs", body) for sender in (client, other, other)]
    assert [is_replayed(answer) for answer in answers] == [False, False, True]
    assert len({row["key_mac"] for row in stored_answers(application)}) == 2


async def test_a_token_that_has_ended_gets_nothing_repeated(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    token = await new_token(client, "logs:write")
    async with client_of(application, token) as other:
        assert (await post(other, "/api/logs", {"level": "INFO", "message": "m"})).is_success
        assert (await client.delete("/api/tokens/2")).status_code == 204
        problem(
            await post(other, "/api/logs", {"level": "INFO", "message": "m"}), "unauthenticated"
        )


async def test_a_token_that_may_do_less_gets_nothing_repeated(
    client: httpx.AsyncClient, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post("/api/projects", json=new_project())
    token = await new_token(client, "projects:write", "secrets:write")
    body = new_project(secrets=[{"key": "A", "value": "v"}])
    async with client_of(application, token) as other:
        assert (await post(other, "/api/projects", body)).status_code == 201
        for change in ("scopes = '[\"projects:write\"]'", "project_ids = '[1]'"):
            # No call changes a token, so another program must.
            before = manager_of(application).execute_query("SELECT * FROM api_tokens WHERE id = 2")
            manager_of(application).execute_command(f"UPDATE api_tokens SET {change} WHERE id = 2")  # noqa: S608
            tokens = service_of(application).tokens
            tokens._cache.begin_revocation()
            tokens._cache.end_revocation()
            # The row is guarded, so the change must look like one of the service's own.
            monkeypatch.setattr(service_of(application).kit.guard, "forged", _unforged)
            problem(await post(other, "/api/projects", body), "forbidden")
            manager_of(application).execute_command(
                "UPDATE api_tokens SET scopes = ?, project_ids = ? WHERE id = 2",
                (before[0]["scopes"], before[0]["project_ids"]),
            )


async def _unforged(*_: object) -> dict[int, object]:
    return {}


async def test_without_tokens_there_is_one_owner_of_keys(api: Api) -> None:
    body = {"level": "INFO", "message": "m"}
    first = await post(api.client, "/api/logs", body)
    second = await post(api.client, "/api/logs", body)
    assert (first.status_code, is_replayed(first), is_replayed(second)) == (201, False, True)


async def test_a_request_without_a_key_stores_nothing(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    assert (await client.post("/api/projects", json=new_project())).status_code == 201
    counts = row_counts(manager_of(application))
    assert (counts["stored_answers"], counts["answer_keys"]) == (0, 0)


async def test_one_that_runs_is_waited_for_for_a_while(
    client: httpx.AsyncClient, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_of(application)
    body = new_project()
    async with service.transaction():
        # The first request waits for the writer, which the block holds.
        first = asyncio.ensure_future(post(client, "/api/projects", body))
        while not service.idempotency.running:
            await asyncio.sleep(0)
        monkeypatch.setattr(idempotency, "PATIENCE_SECONDS", 0.01)
        second = await post(client, "/api/projects", body)
        problem(second, "idempotency_in_progress")
        assert second.headers["retry-after"] == "1"
        monkeypatch.undo()
        third = asyncio.ensure_future(post(client, "/api/projects", body))
        while not any(service.idempotency._running.values()):
            await asyncio.sleep(0)
    assert said(await third) == said(await first)
    assert is_replayed(await third)
    assert service.idempotency.running == 0
