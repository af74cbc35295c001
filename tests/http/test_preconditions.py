"""Changes that demand a version: nothing gets lost in a race, conflicts come second, and only a
change makes another tag."""

import asyncio
import contextvars
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.errors import VersionMismatch
from backend.http.state import state_of
from backend.main import create_app
from backend.services.preconditions import (
    EntityTags,
    Preconditions,
    demanding,
    is_conditional,
    matched,
)
from config.settings import Settings
from tests.support.clients import client_of, token_of_first_start
from tests.support.http import make_project, manager_of, problem, service_of
from tests.support.resources import Resources
from tests.support.routes import send
from tests.support.servers import RunningServer
from tests.support.webhooks import TOKEN, deliver

CLIENTS = 64
STALE = {"If-Match": '"v9"'}


async def created(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    """What a POST has made."""
    response = await client.post(path, json=body)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def run_of(client: httpx.AsyncClient) -> str:
    """The path of a new run in a new project."""
    project = await make_project(client)
    run = await created(client, "/api/agent-runs", project_id=project["id"], target_text="t")
    return f"/api/agent-runs/{run['id']}"


@pytest.mark.parametrize("clients", [24, pytest.param(64, marks=pytest.mark.long_form)])
async def test_clients_that_count_in_a_configuration_lose_nothing(
    server: RunningServer, settings: Settings, clients: int
) -> None:
    token = token_of_first_start(settings)
    refused = 0

    async def count(path: str) -> None:
        nonlocal refused
        async with server.async_client(token) as client:
            while True:
                read = await client.get(path)
                counter = int(read.json()["planning_statement"] or 0)
                answer = await client.patch(
                    path,
                    json={"planning_statement": str(counter + 1)},
                    headers={"If-Match": read.headers["ETag"]},
                )
                if answer.status_code == 200:
                    return
                problem(answer, "version_mismatch")
                refused += 1

    async with server.async_client(token) as client:
        project = await make_project(client)
        path = f"/api/projects/{project['id']}/configuration"
        before = (await client.get(path)).json()
        await asyncio.gather(*(count(path) for _ in range(clients)))
        after = (await client.get(path)).json()
    assert after["planning_statement"] == str(clients)
    assert after["version"] == before["version"] + clients
    assert refused


async def test_of_many_that_saw_the_same_version_one_succeeds(client: httpx.AsyncClient) -> None:
    path = await run_of(client)
    answers = await asyncio.gather(
        *(
            client.patch(path, json={"result": str(n)}, headers={"If-Match": '"v1"'})
            for n in range(CLIENTS)
        )
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [412] * (CLIENTS - 1)
    [winner] = [answer for answer in answers if answer.status_code == 200]
    assert (await client.get(path)).json() == winner.json()


async def test_a_secret_is_made_once_by_those_who_only_make_it(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}/secrets/NEW"
    only_new = {"If-None-Match": "*"}
    answers = await asyncio.gather(
        *(client.put(path, json={"value": str(n)}, headers=only_new) for n in range(CLIENTS))
    )
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [412] * (CLIENTS - 1)
    [place] = [n for n, answer in enumerate(answers) if answer.status_code == 201]
    assert (await client.get(f"{path}/value")).json()["value"] == str(place)
    refused = await client.put(path, json={"value": "x"}, headers=only_new)
    assert problem(refused, "version_mismatch")["etag"] == '"v1"'
    assert (await client.delete(path, headers={"If-Match": '"v1"'})).status_code == 204
    assert (await client.put(path, json={"value": "x"}, headers=only_new)).status_code == 201


async def test_what_does_not_exist_has_no_version(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}/secrets/NONE"
    for wanted in ('"v1"', "*"):
        headers = {"If-Match": wanted}
        refused = await client.put(path, json={"value": "v"}, headers=headers)
        assert problem(refused, "version_mismatch")["etag"] is None
        assert "ETag" not in refused.headers
        problem(await client.delete(path, headers=headers), "secret_not_found")
        problem(await client.delete("/api/webhooks/7", headers=headers), "webhook_not_found")
        problem(
            await client.patch("/api/projects/7", json={}, headers=headers), "project_not_found"
        )
    problem(await client.get(path), "secret_not_found")


async def test_what_is_gone_is_missing_whatever_is_demanded(client: httpx.AsyncClient) -> None:
    keys = ("DELETED", "PURGED", "NEVER")
    project = await make_project(client, secrets=[{"key": key, "value": "v"} for key in keys[:2]])
    path = f"/api/projects/{project['id']}"
    secrets = f"{path}/secrets"
    assert (await client.delete(f"{secrets}/DELETED")).status_code == 204
    assert (await client.delete(f"{secrets}/PURGED?purge=true")).status_code == 204
    missing: list[tuple[str, str, Any]] = [("DELETE", f"{secrets}/{key}", None) for key in keys]
    for key in keys[1:]:
        missing += [
            ("DELETE", f"{secrets}/{key}?purge=true", None),
            ("POST", f"{secrets}/{key}/restore", None),
            ("POST", f"{secrets}/{key}/rollback", {"version": 1}),
        ]
    conditions = [{"If-Match": '"v7"'}, {"If-Match": '"v1"'}, {"If-None-Match": "*"}]
    for headers in conditions:
        for method, url, body in missing:
            answer = await client.request(method, url, json=body, headers=headers)
            problem(answer, "secret_not_found")
    # What can still be done to a deleted secret is done to its last version.
    for method, url, body in (
        ("DELETE", f"{secrets}/DELETED?purge=true", None),
        ("POST", f"{secrets}/DELETED/restore", None),
        ("POST", f"{secrets}/DELETED/rollback", {"version": 1}),
    ):
        answer = await client.request(method, url, json=body, headers={"If-Match": '"v7"'})
        assert problem(answer, "version_mismatch")["etag"] == '"v1"'
    assert (await client.delete(path)).status_code == 204
    for headers in conditions:
        answer = await client.patch(path, json={"name": "other"}, headers=headers)
        problem(answer, "project_not_found")


async def test_a_configuration_that_was_never_set_has_a_version(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    fields = {"name": "n", "github_owner": "acme", "github_repo": "unset"}
    project = await service_of(application).repositories.projects.create(fields)
    path = f"/api/projects/{project.id}/configuration"
    assert (await client.get(path)).headers["ETag"] == '"v0"'
    body = {"branch_name": "next"}
    refused = await client.put(path, json=body, headers={"If-Match": '"v1"'})
    assert problem(refused, "version_mismatch")["etag"] == '"v0"'
    made = await client.put(path, json=body, headers={"If-Match": '"v0"'})
    assert made.headers["ETag"] == '"v1"'


async def test_nothing_to_change_still_demands_the_version(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    for body in ({}, {"name": project["name"]}):
        problem(await client.patch(path, json=body, headers=STALE), "version_mismatch")
        same = await client.patch(path, json=body, headers={"If-Match": '"v1"'})
        assert (same.status_code, same.headers["ETag"]) == (200, '"v1"')


async def test_another_project_has_no_version(client: httpx.AsyncClient, as_token: Any) -> None:
    names = await Resources(client).all()
    bound = await as_token("admin", project_ids=[(await make_project(client))["id"]])
    for path in (
        f"/api/projects/{names['project_id']}",
        f"/api/projects/{names['project_id']}/configuration",
        f"/api/projects/{names['project_id']}/secrets/{names['key']}",
        f"/api/agent-runs/{names['run_id']}",
        f"/api/webhooks/{names['webhook_id']}",
    ):
        body = {"value": "v"} if "/secrets/" in path else {}
        for headers in (STALE, {"If-None-Match": "*"}):
            answer = await bound.put(path, json=body, headers=headers)
            if answer.status_code == 405:
                answer = await bound.patch(path, json=body, headers=headers)
            assert answer.status_code == 404, answer.text
            assert "ETag" not in answer.headers


async def test_tags_are_the_same_after_a_restart(settings: Settings) -> None:
    from tests.http.test_conditional import LISTS, RESOURCES

    async def tags(app: FastAPI, names: dict[str, Any]) -> dict[str, str]:
        token = token_of_first_start(settings)
        async with client_of(app, token) as client:
            names.update(names or await Resources(client).all())
            return {
                str(call): (await send(client, call, names)).headers["ETag"]
                for call in RESOURCES + LISTS
            }

    names: dict[str, Any] = {}
    found = []
    for _ in range(2):
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            found.append(await tags(app, names))
    # A backup or a prune at the start would be an entry of the audit.
    assert found[0] == found[1]


async def test_a_lease_and_a_delivery_make_no_other_tag(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    run = await run_of(client)
    claimed = (await client.post("/api/agent-runs/claim", json={"worker": "w"})).json()
    webhooks = f"/api/projects/{claimed['project_id']}/webhooks"
    webhook = await created(client, webhooks, webhook_type="github_push", secret_token=TOKEN)
    paths = (run, "/api/agent-runs", f"/api/webhooks/{webhook['id']}", webhooks)
    before = [(await client.get(path)) for path in paths]
    assert before[0].headers["ETag"] == '"v2"'
    beat = await client.post(f"{run}/heartbeat", json={"lease_token": claimed["lease_token"]})
    assert beat.headers["ETag"] == '"v2"'
    await service_of(application).claims.renew_leases()
    assert (await deliver(client, webhook["id"])).is_success
    after = [(await client.get(path)) for path in paths]
    assert [r.headers["ETag"] for r in before] == [r.headers["ETag"] for r in after]
    assert before[3].content != after[3].content
    await client.patch(f"/api/webhooks/{webhook['id']}", json={"is_active": False})
    assert (await client.get(webhooks)).headers["ETag"] != after[3].headers["ETag"]


async def test_a_client_that_leaves_has_made_its_change_or_not(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    path = await run_of(client)
    for number in range(20):
        before = await client.get(path)
        tasks = [
            asyncio.ensure_future(
                client.patch(
                    path,
                    json={"result": f"{number}.{attempt}"},
                    headers={"If-Match": before.headers["ETag"]},
                )
            )
            for attempt in range(4)
        ]
        for _ in range(number):
            await asyncio.sleep(0)
        for task in tasks[:3]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        last = answers[3]
        assert isinstance(last, httpx.Response)
        after = (await client.get(path)).json()
        assert after["version"] == before.json()["version"] + 1
        assert (after["result"] == f"{number}.3") is (last.status_code == 200)
    assert not is_conditional()
    entries = manager_of(application).execute_query(
        "SELECT version FROM audit_entries WHERE target = 'agent_runs/1' ORDER BY id"
    )
    assert [entry["version"] for entry in entries] == list(range(1, 22))


async def test_a_compressed_answer_is_not_sent_again_either(
    server: RunningServer, settings: Settings
) -> None:
    gzip = {"Accept-Encoding": "gzip"}
    async with server.async_client(token_of_first_start(settings)) as client:
        project = await make_project(client, settings={"planning_statement": "p" * 20_000})
        for _ in range(30):
            await created(
                client, "/api/agent-runs", project_id=project["id"], target_text="t" * 1000
            )
        for path in (f"/api/projects/{project['id']}/full", "/api/agent-runs"):
            whole = await client.get(path, headers=gzip)
            assert whole.headers["Content-Encoding"] == "gzip"
            known = gzip | {"If-None-Match": whole.headers["ETag"]}
            for _ in range(3):
                for method in ("GET", "HEAD"):
                    answer = await client.request(method, path, headers=known)
                    assert answer.status_code == 304
                    assert answer.headers["Vary"] == "Accept-Encoding"
                    assert answer.headers["ETag"] == whole.headers["ETag"]
                    assert "Content-Encoding" not in answer.headers
            assert (await client.get(path, headers=gzip)).json() == whole.json()


async def test_an_answer_that_was_asked_for_by_its_tag_is_kept(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    kept = state_of(application).kept
    assert not len(kept)
    for _ in range(2):
        answer = await client.get(path, headers={"If-None-Match": '"v1"'})
        assert answer.status_code == 304
        assert len(kept) == 1
    assert (await client.get(path)).json() == project


async def test_the_demand_of_one_request_is_not_that_of_the_next(
    client: httpx.AsyncClient,
) -> None:
    path = await run_of(client)
    context = contextvars.copy_context()

    async def in_it(**request: Any) -> httpx.Response:
        return await asyncio.get_running_loop().create_task(
            client.patch(path, json={"result": "x"}, **request), context=context
        )

    problem(await in_it(headers=STALE), "version_mismatch")
    assert not context.run(is_conditional)
    assert (await in_it()).status_code == 200


def test_a_block_without_preconditions_demands_nothing() -> None:
    assert matched(3) is None
    with demanding(Preconditions(EntityTags(frozenset({'"v3"'})))):
        assert matched(3) == 3
        with pytest.raises(VersionMismatch) as refused:
            matched(4)
        assert refused.value.extra == {"etag": '"v4"'}
    assert not is_conditional()
