"""Scans in parts, what a token may have searched, and what the audit tells of it."""

from typing import Any

import httpx
from fastapi import FastAPI

from backend.services.projects.secret_scan import ScanPace
from tests.redaction.scanning import SCAN, SECRETS, VALUE, counts, scan, set_secret
from tests.support.api import Api, Json
from tests.support.clients import AsToken
from tests.support.http import make_project, problem, service_of
from tests.support.logs import log, send


async def all_pages(api: Api) -> list[Json]:
    """All answers of a scan."""
    answers = [await api.post(SCAN)]
    while (cursor := answers[-1]["next_cursor"]) is not None:
        answers.append(await api.post(f"{SCAN}?cursor={cursor}"))
    return answers


async def test_pages_of_any_size_tell_the_same(api: Api) -> None:
    for number in range(4):
        run = await api.new_run(target_text=VALUE if number else "nothing")
        for states in range(number):
            body: Json = {"state": "created", "metadata": {"n": states, "v": VALUE}}
            await api.post(f"/api/agent-runs/{run['id']}/pipeline-states", body, 201)
        names = [f"{VALUE} {test}" for test in range(5 * (number % 2))]
        results = [
            {"test_type": "unit", "test_name": name, "status": status}
            for status in ("failed", "passed")
            for name in names
        ]
        for start in range(0, len(results), 5):
            some = {"test_results": results[start : start + 5]}
            await api.post(f"/api/agent-runs/{run['id']}/test-results", some, 201)
        await send(api, *(log(f"{n} {VALUE}", project_id=1) for n in range(number)))
    await set_secret(api)
    whole = await scan(api)
    expected = counts(whole["found"])
    assert expected["KEY", "agent-runs/2/test-results"] == 10
    assert expected["KEY", "agent-runs/4/pipeline-states"] == 3
    assert expected["KEY", "logs"] == 6
    for rows, piece, found in ((1, 1, 500), (3, 2, 500), (500, 3, 500), (500, 500, 1), (7, 7, 3)):
        pace = ScanPace(piece_seconds=60, piece_rows=piece, seconds=600, rows=rows, found=found)
        api.service.secret_scan.pace = pace
        answers = await all_pages(api)
        assert len(answers) > (5 if rows < 500 or found < 500 else 0), pace
        assert all(len(answer["found"]) <= found for answer in answers)
        assert counts([one for answer in answers for one in answer["found"]]) == expected, pace


async def test_an_answer_ends_when_its_time_is_over(api: Api) -> None:
    await send(api, *(log(f"{n} {VALUE}", project_id=1) for n in range(3)))
    await set_secret(api)
    # Without time, each read has one row.
    api.service.secret_scan.pace = ScanPace(piece_seconds=0)
    assert counts((await scan(api))["found"]) == {("KEY", "logs"): 3}
    api.service.secret_scan.pace = ScanPace(seconds=-1)
    answer = await api.post(SCAN)
    assert answer["found"] == []
    assert answer["next_cursor"] is not None


async def test_what_is_stored_meanwhile_does_not_prolong_a_scan(api: Api) -> None:
    await send(api, *(log(f"{n} {VALUE}", project_id=1) for n in range(5)))
    await set_secret(api)
    api.service.secret_scan.pace = ScanPace(rows=2)
    answer = await api.post(SCAN)
    found = answer["found"]
    pages = 1
    while (cursor := answer["next_cursor"]) is not None:
        await send(api, *(log(f"{n}", project_id=1) for n in range(5)))
        answer = await api.post(f"{SCAN}?cursor={cursor}")
        found += answer["found"]
        pages += 1
        assert pages < 10
    assert counts(found) == {("KEY", "logs"): 5}


async def test_a_cursor_belongs_to_its_project_and_to_what_the_token_may_read(
    application: FastAPI, client: httpx.AsyncClient, as_token: AsToken
) -> None:
    first, second = [(await make_project(client, secrets=SECRETS))["id"] for _ in range(2)]
    path = f"/api/projects/{first}/secrets/scan"
    service_of(application).secret_scan.pace = ScanPace(rows=1)
    cursor = (await client.post(path)).json()["next_cursor"]
    assert (await client.post(path, params={"cursor": cursor})).status_code == 200
    other = f"/api/projects/{second}/secrets/scan"
    problem(await client.post(other, params={"cursor": cursor}), "bad_cursor")
    problem(await client.post(path, params={"cursor": f"{cursor}A"}), "bad_cursor")
    weak = await as_token("secrets:reveal", "logs:read")
    problem(await weak.post(path, params={"cursor": cursor}), "bad_cursor")


async def test_only_what_the_token_may_read_is_searched(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    project = await make_project(client, name=f"named {VALUE}")
    run = {"project_id": project["id"], "target_text": VALUE}
    assert (await client.post("/api/agent-runs", json=run)).status_code == 201
    logs = log(VALUE, project_id=project["id"])
    assert (await client.post("/api/logs", json=logs)).status_code == 201
    secrets = f"/api/projects/{project['id']}/secrets"
    assert (await client.put(secrets, json={"secrets": SECRETS})).status_code == 200
    places = {
        "projects:read": f"projects/{project['id']}",
        "runs:read": "agent-runs/1",
        "logs:read": "logs",
    }
    for scopes in ((), *((scope,) for scope in places), tuple(places)):
        token = await as_token("secrets:reveal", *scopes)
        answer = (await token.post(f"{secrets}/scan")).json()
        assert [one["resource"] for one in answer["found"]] == sorted(
            places[scope] for scope in scopes
        )
        assert answer["missing_scopes"] == sorted(places.keys() - set(scopes))
        assert answer["next_cursor"] is None
    refused = await as_token(*places, "secrets:write", "runs:write", "logs:write")
    assert problem(await refused.post(f"{secrets}/scan"), "forbidden")["scope"] == "secrets:reveal"


async def entries(client: httpx.AsyncClient, action: str) -> list[dict[str, Any]]:
    answer = await client.get("/api/audit", params={"action": action})
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def test_the_audit_tells_once_who_has_scanned(
    application: FastAPI, client: httpx.AsyncClient, as_token: AsToken
) -> None:
    project = await make_project(client, secrets=SECRETS)
    path = f"/api/projects/{project['id']}/secrets/scan"
    token = await as_token("secrets:reveal", "runs:read", project_ids=[project["id"]])
    for number in range(3):
        run = {"project_id": project["id"], "target_text": f"{number}"}
        assert (await client.post("/api/agent-runs", json=run)).status_code == 201
    service_of(application).secret_scan.pace = ScanPace(rows=1)
    answer = (await token.post(path)).json()
    assert answer["next_cursor"] is not None
    while answer["next_cursor"] is not None:
        answer = (await token.post(path, params={"cursor": answer["next_cursor"]})).json()
    [entry] = await entries(client, "secret.scanned")
    assert (entry["actor"], entry["target"]) == ("t", f"projects/{project['id']}/secrets")
    assert entry["project_id"] == project["id"]
    # A refused one is no refused reveal of any key.
    weak = await as_token("projects:read")
    problem(await weak.post(path), "forbidden")
    assert await entries(client, "secret.reveal_refused") == []


async def test_a_key_repeats_the_answer(client: httpx.AsyncClient) -> None:
    project = await make_project(client, secrets=SECRETS)
    path = f"/api/projects/{project['id']}/secrets/scan"
    headers = {"Idempotency-Key": "once"}
    first = await client.post(path, headers=headers)
    assert first.status_code == 200
    assert (await client.patch(path.rpartition("/secrets")[0], json={"name": VALUE})).is_success
    again = await client.post(path, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert len(await entries(client, "secret.scanned")) == 1
