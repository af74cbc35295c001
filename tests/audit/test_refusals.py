"""What was refused is in the audit: reveals to valid tokens, and a summary of unknown tokens."""

import io
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from backend.runtime import Runtime
from backend.services.projects.refused_reveals import MOST_A_MINUTE
from config.settings import Settings
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError
from tests.support.clients import AsToken, Caller, bearer, client_of, new_token
from tests.support.clocks import SetClock
from tests.support.http import make_project, manager_of, service_of

REFUSED = "secret.reveal_refused"
UNKNOWN = "token.unknown_refused"
LOCAL = "http://localhost"


@pytest.fixture
async def project(client: httpx.AsyncClient, application: FastAPI) -> dict[str, Any]:
    """A project with the secret KEY. The time of the audit stands still, so that a test does not
    run over the end of a minute."""
    project = await make_project(client, secrets=[{"key": "KEY", "value": "v"}])
    service_of(application).clock = SetClock()
    return project


async def entries(client: httpx.AsyncClient, action: str = REFUSED) -> list[dict[str, Any]]:
    """The entries with this action, the oldest first."""
    answer = await client.get("/api/audit", params={"action": action, "limit": 500})
    return list(reversed(answer.json()["entries"]))


def value_of(project_id: int, key: str = "KEY") -> str:
    return f"/api/projects/{project_id}/secrets/{key}/value"


async def test_a_reveal_without_the_scope_is_recorded_once_a_minute(
    client: httpx.AsyncClient, application: FastAPI, as_token: AsToken, project: dict[str, Any]
) -> None:
    reader = await as_token("projects:read")
    first = await reader.get(value_of(project["id"]), headers={"X-Request-ID": "the-first"})
    again = await reader.get(value_of(project["id"]), headers={"X-Request-ID": "the-first"})
    assert first.status_code == 403
    assert (first.json(), first.headers) == (again.json(), again.headers)
    [entry] = await entries(client)
    assert entry == {
        "id": entry["id"],
        "at": entry["at"],
        "actor": "t",
        "actor_token_id": entry["actor_token_id"],
        "action": REFUSED,
        "target": f"projects/{project['id']}/secrets/KEY",
        "project_id": project["id"],
        "fields": [],
        "request_id": "the-first",
        "version": None,
        "address": "127.0.0.1",
    }
    assert entry["actor_token_id"] is not None
    clock = service_of(application).clock
    assert isinstance(clock, SetClock)
    clock.advance(60)
    await reader.get(value_of(project["id"]))
    assert len(await entries(client)) == 2
    metrics = (await client.get("/metrics")).text
    assert "strongroom_reveals_refused_total 3.0" in metrics


async def test_a_reveal_in_another_project_is_recorded_whether_there_is_something_or_not(
    client: httpx.AsyncClient, as_token: AsToken, project: dict[str, Any]
) -> None:
    own = await make_project(client)
    bound = await as_token("secrets:reveal", project_ids=[own["id"]])
    absent = 987_654
    answers = [
        await bound.get(value_of(id, key), headers={"X-Request-ID": "same"})
        for id, key in ((project["id"], "KEY"), (project["id"], "NOTHING"), (absent, "KEY"))
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert [entry["target"] for entry in await entries(client)] == [
        f"projects/{project['id']}/secrets/KEY",
        f"projects/{project['id']}/secrets/NOTHING",
        f"projects/{absent}/secrets/KEY",
    ]


async def test_what_is_missing_for_every_token_is_no_refusal(
    client: httpx.AsyncClient, as_token: AsToken, project: dict[str, Any]
) -> None:
    revealer = await as_token("secrets:reveal")
    for path in (value_of(987_654), value_of(project["id"], "NOTHING")):
        assert (await revealer.get(path)).status_code == 404
    reader = await as_token("projects:read")
    # No secret can be at these places.
    for path in (
        value_of(project["id"], "not-a-key"),
        "/api/projects/x/secrets/KEY/value",
        value_of(2**63),
        value_of(0),
    ):
        assert (await reader.get(path)).status_code == 403
    # A call that reveals nothing.
    assert (await reader.delete(f"/api/projects/{project['id']}")).status_code == 403
    assert await entries(client) == []


async def test_a_token_that_has_ended_makes_no_entry_and_counts_as_unknown(
    client: httpx.AsyncClient,
    application: FastAPI,
    stranger: httpx.AsyncClient,
    project: dict[str, Any],
) -> None:
    token = await new_token(client, "projects:read", name="ended")
    [listed] = (await client.get("/api/tokens", params={"limit": 1})).json()["tokens"]
    await client.delete(f"/api/tokens/{listed['id']}")
    answer = await stranger.get(value_of(project["id"]), headers=bearer(token))
    assert answer.status_code == 401
    # Without a token, the entry would have no actor.
    assert (await stranger.get(value_of(project["id"]))).status_code == 401
    assert await entries(client) == []
    assert service_of(application).unknown_tokens.refused == 1


async def test_one_token_can_not_fill_the_audit(
    client: httpx.AsyncClient, as_token: AsToken, project: dict[str, Any]
) -> None:
    reader, other = await as_token("projects:read"), await as_token("projects:read")
    for number in range(MOST_A_MINUTE + 5):
        answer = await reader.get(value_of(project["id"], f"K{number}"))
        assert answer.status_code == 403
    assert len(await entries(client)) == MOST_A_MINUTE
    await other.get(value_of(project["id"]))
    assert len(await entries(client)) == MOST_A_MINUTE + 1


async def test_a_refusal_that_can_not_be_recorded_is_a_refusal_all_the_same(
    client: httpx.AsyncClient,
    application: FastAPI,
    as_token: AsToken,
    project: dict[str, Any],
    log: io.StringIO,
) -> None:
    reader = await as_token("projects:read")
    manager = manager_of(application)
    manager.execute_command(
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_entries"
        " BEGIN SELECT RAISE(ABORT, 'no audit'); END"
    )
    answer = await reader.get(value_of(project["id"]))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "could not be recorded" in log.getvalue()
    manager.execute_command("DROP TRIGGER no_audit")
    # The next one is recorded, in the same minute.
    await reader.get(value_of(project["id"]))
    assert len(await entries(client)) == 1


async def test_while_authentication_is_off_nothing_is_refused(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"auth": "off"}))
    async with app.router.lifespan_context(app), client_of(app, base_url=LOCAL) as anybody:
        bound = await make_project(anybody)
        token = await new_token(anybody, "secrets:reveal", project_ids=[bound["id"]])
        answer = await anybody.get(value_of(987_654), headers=bearer(token))
        assert answer.status_code == 404
        assert await entries(anybody) == []


async def test_unknown_tokens_are_counted_and_make_one_entry(
    client: httpx.AsyncClient, application: FastAPI, caller: Caller
) -> None:
    unknown = service_of(application).unknown_tokens
    await unknown.record()
    assert await entries(client, UNKNOWN) == []
    async with caller("203.0.113.9") as one, caller("198.51.100.1") as other:
        for _ in range(5):
            assert (await one.get("/api/projects", headers=bearer("sr_1_no"))).status_code == 401
        await unknown.record()
        await unknown.record()
        [entry] = await entries(client, UNKNOWN)
        assert (entry["actor"], entry["target"], entry["fields"]) == ("system", "tokens", [])
        assert (entry["project_id"], entry["address"]) == (None, "203.0.113.9")
        for stranger in (one, other):
            await stranger.get("/api/projects", headers=bearer("not even a token"))
        await unknown.record()
        # A request without a token is no attempt.
        await one.get("/api/projects")
        await unknown.record()
    assert [entry["address"] for entry in await entries(client, UNKNOWN)] == ["203.0.113.9", None]
    assert "strongroom_tokens_refused_total 7.0" in (await client.get("/metrics")).text


async def test_a_summary_that_can_not_be_written_is_written_later(
    client: httpx.AsyncClient, application: FastAPI, caller: Caller
) -> None:
    manager, unknown = manager_of(application), service_of(application).unknown_tokens
    async with caller("203.0.113.9") as one:
        await one.get("/api/projects", headers=bearer("sr_1_no"))
    manager.execute_command(
        "CREATE TRIGGER no_audit BEFORE INSERT ON audit_entries"
        " BEGIN SELECT RAISE(ABORT, 'no audit'); END"
    )
    with pytest.raises(DatabaseError):
        await unknown.record()
    manager.execute_command("DROP TRIGGER no_audit")
    await unknown.record()
    [entry] = await entries(client, UNKNOWN)
    assert entry["address"] == "203.0.113.9"


async def test_a_stop_writes_the_last_summary(settings: Settings) -> None:
    runtime = await Runtime.start(settings)
    runtime.service.unknown_tokens.count("203.0.113.9")
    await runtime.stop()
    manager = DatabaseManager(runtime.manager.config)
    rows = manager.execute_query("SELECT action, address FROM audit_entries ORDER BY id DESC")
    manager.sync_pool.close()
    assert rows[0] == {"action": UNKNOWN, "address": "203.0.113.9"}
