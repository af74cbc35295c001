"""What belongs to a deleted project can be read and does not change. The routes are found in the
OpenAPI document."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from models import Scope
from tests.support.api import Api
from tests.support.http import all_rows, manager_of, problem
from tests.support.resources import Resources
from tests.support.routes import all_calls, send

CALLS = list(all_calls())
OF_PROJECT = {"project_id", "run_id", "snapshot_id", "webhook_id", "delivery_id"}
TAKEN_BACK = {
    # Both are about the deleted project itself: to mark it again changes nothing.
    "DELETE /api/projects/{project_id}",
    "POST /api/projects/{project_id}/restore",
}
OTHERWISE = {
    # There is nothing to claim.
    "POST /api/agent-runs/claim",
    # A log tells what has happened already, and may come in one batch with those of others.
    "POST /api/logs",
    # A sender is not told which webhooks exist.
    "POST /api/webhooks/{webhook_id}/deliveries/github",
}


def names_project(body: Any) -> bool:
    """Whether a body has the id of a project."""
    if isinstance(body, list):
        return any(map(names_project, body))
    return isinstance(body, dict) and (
        "project_id" in body or any(map(names_project, body.values()))
    )


CHANGES = [
    call
    for call in CALLS
    if call.method != "GET"
    and (OF_PROJECT & set(call.names) or names_project(call.body))
    and str(call) not in TAKEN_BACK | OTHERWISE
    # A reveal is a read.
    and call.scope != Scope.SECRETS_REVEAL
]
READS = [call for call in CALLS if call.method == "GET" and OF_PROJECT & set(call.names)]


def stored(app: FastAPI) -> dict[str, list[dict[str, Any]]]:
    """All rows, without the times at which tokens were used."""
    rows = dict(all_rows(manager_of(app)))
    rows["api_tokens"] = [{**row, "last_used_at": None} for row in rows["api_tokens"]]
    return rows


async def deleted(client: httpx.AsyncClient) -> dict[str, Any]:
    """One of everything in a project that is deleted."""
    resources = Resources(client)
    names = await resources.all()
    project = f"/api/projects/{names['project_id']}"
    assert (await client.delete(project)).status_code == 204
    return names


def test_the_changes_were_found() -> None:
    assert len(CHANGES) >= 25
    assert {"run_id", "snapshot_id", "webhook_id", "key"} <= {n for c in CHANGES for n in c.names}
    assert set(map(str, CALLS)) >= TAKEN_BACK | OTHERWISE


async def test_nothing_that_belongs_to_a_deleted_project_changes(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    names = await deleted(client)
    before = stored(application)
    for call in CHANGES:
        # The precondition does not hold either: that it is missing comes first.
        for headers in ({}, {"If-Match": '"v99"'}):
            answer = await send(
                client, call, names, headers=headers, project_id=names["project_id"]
            )
            assert answer.status_code == 404, str(call)
            problem(answer, "project_not_found")
            assert "404" in call.responses, str(call)
    assert stored(application) == before


async def test_what_belongs_to_it_can_be_read(client: httpx.AsyncClient) -> None:
    names = await deleted(client)
    for call in READS:
        assert (await send(client, call, names)).status_code == 200, str(call)


async def test_everything_goes_on_when_it_is_restored(client: httpx.AsyncClient) -> None:
    names = await deleted(client)
    project, run = f"/api/projects/{names['project_id']}", f"/api/agent-runs/{names['run_id']}"
    assert (await client.post(f"{project}/restore")).status_code == 200
    assert (await client.patch(run, json={"pr_number": 7})).json()["pr_number"] == 7


@pytest.mark.parametrize("count", [None, 5])
async def test_a_worker_of_a_deleted_project_stops(api: Api, count: int | None) -> None:
    await api.new_run()
    await api.new_run()
    lease = (await api.claim())["lease_token"]
    path, before = "/api/agent-runs/1", await api.run(1)
    await api.call("DELETE", "/api/projects/1", status=204)
    claim = {"worker": "w"} if count is None else {"worker": "w", "count": count}
    for asked in (claim, {**claim, "project_ids": [1]}):
        assert await api.post("/api/agent-runs/claim", asked, 204) is None
    for call, body in (
        ("heartbeat", {"lease_token": lease}),
        ("transitions", {"to": "completed", "lease_token": lease}),
        ("cancel", {"lease_token": lease}),
        ("pipeline-states", {"state": "testing", "lease_token": lease}),
    ):
        refused = await api.post(f"{path}/{call}", body, 404)
        assert refused["code"] == "project_not_found"
    assert await api.run(1) == before
    await api.post("/api/projects/1/restore")
    assert (await api.heartbeat(1, lease))["status"] == "running"
    assert (await api.claim())["id"] == 2
