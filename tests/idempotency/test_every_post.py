"""Every POST takes an idempotency key, but for those that api.md names."""

import re

import httpx
import pytest
from fastapi import FastAPI

from backend.http.route_policy import Idempotent
from backend.repositories.stored_answer_repository import PROJECT_OF
from backend.routes import POLICIES
from tests.idempotency.support import HEADER, is_replayed, post, said, stored_answers
from tests.support.http import all_rows, manager_of, new_project, problem
from tests.support.resources import SENTINEL, Resources, marked, restore
from tests.support.routes import Call, all_calls

EXCEPTED = re.compile(r"/reveal$|^/api/session$|/deliveries/|^/testing/")
POSTS = {path: policy for (method, path), policy in POLICIES.items() if method == "POST"}
KEYED = [path for path, policy in POSTS.items() if policy.idempotency("POST") is not None]
CALLS = {call.template: call for call in all_calls() if call.method == "POST"}


def test_every_post_takes_a_key_but_the_excepted_ones() -> None:
    assert {path for path in POSTS if EXCEPTED.search(path)} == POSTS.keys() - set(KEYED)
    assert len(KEYED) > 14
    others = {
        policy.idempotency(method) for (method, _), policy in POLICIES.items() if method != "POST"
    }
    assert others == {None}


def test_what_is_not_one_transaction_is_known() -> None:
    afterwards = {p for p in KEYED if POSTS[p].idempotent is Idempotent.AFTERWARDS}
    scan = "/api/projects/{project_id}/secrets/scan"
    assert afterwards == {"/api/keys/rotate", "/api/backups", "/api/retention/prune", scan}


def test_the_project_of_each_name_in_a_path_is_found() -> None:
    names = {name for path in KEYED for name in re.findall(r"\{(\w+)\}", path)}
    # The key of a secret stands behind its project.
    assert names - {"key"} == PROJECT_OF.keys()


@pytest.mark.parametrize("path", POSTS)
def test_the_document_says_which_take_a_key(path: str) -> None:
    call = CALLS[path]
    names = [parameter["name"] for parameter in call.parameters("header")]
    assert (HEADER in names) == (path in KEYED)
    codes = {code for answer in call.responses.values() for code in answer.get("x-codes", ())}
    its = {"idempotency_key_reused", "idempotency_in_progress"}
    assert codes >= its if path in KEYED else not codes & its
    if path in KEYED:
        shown = call.operation["responses"]
        successes = [status for status in shown if status < "300" and status != "204"]
        assert successes
        assert all("Idempotency-Replayed" in shown[status]["headers"] for status in successes)


async def prepared(client: httpx.AsyncClient, resources: Resources, call: Call) -> None:
    """Bring the resources into a state in which the call can succeed."""
    run_id = await resources.get("run_id")
    if call.template.endswith(("/transitions", "/heartbeat")):
        claimed = await client.post("/api/agent-runs/claim", json={"worker": "w"})
        assert claimed.json()["id"] == run_id
        vars(call)["body"] = {**call.body, "lease_token": claimed.json()["lease_token"]}
    if call.template.endswith("/continue"):
        for status in ("running", "paused"):
            await client.post(f"/api/agent-runs/{run_id}/transitions", json={"to": status})


async def keyed(client: httpx.AsyncClient, path: str, call: Call) -> httpx.Response:
    """The first answer, and the request's own body in `call`, which a shape may refuse at first."""
    if call.body is None:
        return await post(client, path)
    body = marked(call.body) if "lease_token" not in call.body else call.body
    answer = await post(client, path, body)
    if answer.status_code == 422:
        for error in answer.json()["errors"]:
            restore(body, call.body, error["pointer"].split("/")[1:])
        answer = await post(client, path, body)
    vars(call)["body"] = body
    return answer


@pytest.mark.parametrize("path", KEYED)
async def test_a_repeated_request_has_no_second_effect(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    resources = Resources(client)
    call = Call("POST", path, CALLS[path].operation, CALLS[path].components)
    await prepared(client, resources, call)
    address = await resources.path(call)
    first = await keyed(client, address, call)
    assert first.is_success, first.text
    assert not is_replayed(first)
    before = all_rows(manager_of(application))
    assert [len(row["key_mac"]) for row in stored_answers(application)] == [16]
    second = await post(client, address, call.body)
    assert is_replayed(second), second.text
    assert said(second) == said(first)
    assert all_rows(manager_of(application)) == before
    other = await client.post(address + "?x=1", headers={HEADER: "a-key"})
    assert other.status_code == 422


@pytest.mark.parametrize("path", [path for path in KEYED if "{" in path])
async def test_what_is_stored_of_a_project_goes_with_it(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    resources = Resources(client)
    call = Call("POST", path, CALLS[path].operation, CALLS[path].components)
    await prepared(client, resources, call)
    address = await resources.path(call)
    first = await keyed(client, address, call)
    assert first.is_success, first.text
    [row] = stored_answers(application)
    assert row["project_id"] == await resources.get("project_id")
    gone = await client.delete(f"/api/projects/{row['project_id']}?purge=true")
    assert gone.status_code == 204
    assert stored_answers(application) == []
    assert SENTINEL not in (await post(client, address, call.body)).text


@pytest.mark.parametrize("owner", ["project_id", "agent_run_id"])
async def test_what_is_stored_of_its_logs_goes_with_a_project(
    client: httpx.AsyncClient, application: FastAPI, owner: str
) -> None:
    for _ in range(2):
        await client.post("/api/projects", json=new_project())
    await client.post("/api/agent-runs", json={"project_id": 2, "target_text": "t"})
    log = {"level": "INFO", "message": "m"}
    named = {"project_id": 2, "agent_run_id": 1}[owner]
    body = {"logs": [log, {**log, "project_id": 1}, {**log, owner: named}]}
    assert (await post(client, "/api/logs", body)).json() == {"accepted": 3}
    assert is_replayed(await post(client, "/api/logs", body))
    assert (await client.delete("/api/projects/2?purge=true")).status_code == 204
    assert stored_answers(application) == []
    again = await post(client, "/api/logs", body)
    [error] = problem(again, {"project_id": "project_not_found"}.get(owner, "agent_run_not_found"))[
        "errors"
    ]
    assert error["pointer"] == f"/logs/2/{owner}"
