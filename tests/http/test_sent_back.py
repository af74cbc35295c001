"""What was read can be sent back: whole, as it is, and without effect."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jsonschema_rs import Validator, validator_for

from models import ProjectStatus, RunStatus, SnapshotStatus
from tests.runs.test_json_fields import shapes
from tests.support.http import (
    JSON,
    all_rows,
    make_project,
    manager_of,
    new_project,
    places,
    problem,
)
from tests.support.resources import Resources
from tests.support.routes import Call, all_calls, document

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
CALLS = list(all_calls())
READ = {call.template: call for call in CALLS if call.method == "GET"}
CHANGES = [call for call in CALLS if call.method in ("PUT", "PATCH") and call.template in READ]
SECRETS = "/api/projects/{project_id}/secrets"
"""What is read there is a page; it can be sent back as a whole."""
IN_ITEMS = {"project_id", "key"}
"""Names in paths that are members of what is found there, if it is not its id."""
LISTS = [
    call for call in CALLS if call.method == "POST" and call.template in READ and call.needs_body
]
# A client that sends a run wants a new one, without what became of another.
NOT_MADE = {
    "/api/agent-runs",
    "/api/projects/{project_id}/agent-runs",
    "/api/projects/{project_id}/secrets",
    # A session, which has lists of its own.
    "/api/session",
}
TEXTS = {"result": "r", "error_message": "e"}


def shape_of(call: Call) -> str | None:
    """The name of the shape that it answers with."""
    schema = call.responses["200"].get("content", {}).get("application/json", {}).get("schema", {})
    found: str | None = schema.get("$ref")
    return found


def parts(call: Call) -> Iterator[tuple[str, str | None]]:
    """The members of what a GET answers that have a shape, or are lists of one, with its name."""
    if call.method == "GET" and (shape := shape_of(call)):
        for name, schema in call.resolved({"$ref": shape})["properties"].items():
            if shape := schema.get("items", schema).get("$ref"):
                yield name, shape


@cache
def _validator(call: str) -> Validator:
    (found,) = [one for one in CALLS if str(one) == call]
    content = found.operation["requestBody"]["content"]
    components = document()["components"]
    return validator_for({**content["application/json"]["schema"], "components": components})


def fits(call: Call, body: Any) -> bool:
    """Whether the document lets this body be sent."""
    return _validator(str(call)).is_valid(body)


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    made: dict[str, Any] = answer.json()
    return made


async def run_in(client: httpx.AsyncClient, status: RunStatus) -> str:
    """The path of a new run in this status, with a value in every field."""
    run = await post(client, "/api/agent-runs", project_id=1, target_text="t", metadata={"a": 1e-7})
    path = f"/api/agent-runs/{run['id']}"
    fields = {"pr_number": 7, "pr_url": "https://a.example/7", "codegen_run_id": "c"}
    await client.patch(path, json={**fields, "planning_statement": "p", "run_type": "pr"})
    steps: dict[RunStatus, list[RunStatus]] = {
        RunStatus.PENDING: [],
        RunStatus.PAUSED: [RunStatus.RUNNING],
        RunStatus.COMPLETED: [RunStatus.RUNNING],
    }
    ways = steps.get(status, [])
    for step in ways if status is RunStatus.PENDING else [*ways, status]:
        await post(client, f"{path}/transitions", to=step, **TEXTS)
    return path


async def snapshot_in(client: httpx.AsyncClient, run: str, status: SnapshotStatus) -> str:
    made = await post(client, f"{run}/snapshots", snapshot_id=f"s-{status}", config={"a": 1.0})
    path = f"/api/snapshots/{made['id']}"
    order = [SnapshotStatus.READY, SnapshotStatus.RUNNING, SnapshotStatus.COMPLETED]
    steps = order[: order.index(status) + 1] if status in order else [status]
    for step in [] if status is SnapshotStatus.CREATING else steps:
        assert (await client.patch(path, json={"status": step})).status_code == 200
    return path


@pytest.fixture
async def resources(client: httpx.AsyncClient) -> dict[str, list[str]]:
    """Resources of every kind in every status, by the template of their path."""
    found: dict[str, list[str]] = {}
    first = await make_project(
        client, settings={"planning_statement": "p"}, secrets=[{"key": "KEY", "value": "v"}]
    )
    assert first["id"] == 1
    projects = ["/api/projects/1"]
    for status in ProjectStatus:
        if status is not ProjectStatus.DELETED:
            made = await make_project(client, status=status, webhook_url="https://a.example/")
            projects.append(f"/api/projects/{made['id']}")
    found["/api/projects/{project_id}"] = projects
    configurations = [f"{path}/configuration" for path in projects]
    found["/api/projects/{project_id}/configuration"] = configurations
    runs = [await run_in(client, status) for status in RunStatus]
    found["/api/agent-runs/{run_id}"] = runs
    found["/api/snapshots/{snapshot_id}"] = [
        await snapshot_in(client, runs[0], status) for status in SnapshotStatus
    ]
    hooks: list[dict[str, Any]] = [
        {"webhook_type": "custom"},
        {"webhook_type": "github_pr", "secret_token": "a" * 32, "is_active": False},
    ]
    made_hooks = [await post(client, "/api/projects/1/webhooks", **hook) for hook in hooks]
    found["/api/projects/{project_id}/secrets/{key}"] = ["/api/projects/1/secrets/KEY"]
    found[SECRETS] = ["/api/projects/1/secrets"]
    found["/api/webhooks/{webhook_id}"] = [f"/api/webhooks/{made['id']}" for made in made_hooks]
    others = Resources(client, project_id=1)
    for call in CHANGES:
        if call.template not in found:
            values = {name: await others.get(name) for name in call.names}
            found[call.template] = [call.path(**values)]
    return found


async def test_every_resource_can_be_sent_back_whole_and_stays_as_it_is(
    client: httpx.AsyncClient, application: FastAPI, resources: dict[str, list[str]]
) -> None:
    before = all_rows(manager_of(application))
    for call in CHANGES:
        for path in resources[call.template]:
            read = await client.get(path)
            assert fits(call, read.json()), f"{call} {path}"
            answer = await client.request(call.method, path, content=read.content, headers=JSON)
            assert answer.status_code == 200, f"{call} {path}: {answer.text}"
            if call.template == SECRETS:
                assert answer.json() == {"created": 0, "updated": 0, "unchanged": 1}
            else:
                assert answer.json() == read.json()
    assert all_rows(manager_of(application)) == before


@pytest.mark.usefixtures("resources")
async def test_every_item_of_a_list_can_be_sent_back_to_where_it_is(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    before = all_rows(manager_of(application))
    tried = set()
    found = [(call, *part) for call in CALLS for part in parts(call)]
    for call, member, shape in found:
        for change in [one for one in CHANGES if shape_of(READ[one.template]) == shape]:
            read = (await client.get(call.path())).json()[member]
            for item in read if isinstance(read, list) else [read]:
                names = re.findall(r"\{(\w+)\}", change.template)
                own = {name: item.get(name, item["id"]) for name in names if name in IN_ITEMS}
                path = change.path(**dict.fromkeys(names, item["id"]) | own)
                assert fits(change, item), f"{change} {path}"
                answer = await client.request(change.method, path, json=item)
                assert answer.status_code == 200, f"{change} {path}: {answer.text}"
                assert answer.json() == item
                tried.add(change.template)
    # The configuration and the secrets as they are in `full`; all others as they are in lists.
    assert tried == {change.template for change in CHANGES} - {SECRETS}
    assert all_rows(manager_of(application)) == before


async def test_a_run_in_every_status_passes_with_its_own_and_with_no_other(
    client: httpx.AsyncClient, resources: dict[str, list[str]]
) -> None:
    for path, own in zip(resources["/api/agent-runs/{run_id}"], RunStatus, strict=True):
        run = (await client.get(path)).json()
        assert run["status"] == own
        for status in RunStatus:
            answer = await client.patch(path, json={"status": status, "pr_number": 7})
            if status is own:
                assert answer.json() == run
            else:
                assert places(answer) == ["/status"]
        for wrong in ("PENDING", "", None, 1, ["pending"]):
            assert places(await client.patch(path, json={"status": wrong})) == ["/status"]
        changed = await client.patch(path, json={**run, "pr_number": 8})
        assert (changed.json()["pr_number"], changed.json()["version"]) == (8, run["version"] + 1)


async def test_what_a_claim_and_a_heartbeat_answer_can_be_sent_back(
    client: httpx.AsyncClient,
) -> None:
    await make_project(client)
    await post(client, "/api/agent-runs", project_id=1, target_text="t")
    claimed = await post(client, "/api/agent-runs/claim", worker="w")
    answer = await client.patch(f"/api/agent-runs/{claimed['id']}", json=claimed)
    assert answer.json().items() <= claimed.items()
    path = f"/api/agent-runs/{claimed['id']}"
    beat = await post(client, f"{path}/heartbeat", lease_token=claimed["lease_token"])
    assert (await client.patch(path, json=beat)).json() == answer.json()


async def test_a_project_is_deleted_by_delete_alone(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}"
    for method in ("PUT", "PATCH"):
        assert places(await client.request(method, path, json={"status": "deleted"})) == ["/status"]
    assert (await client.get(path)).json() == project
    await client.delete(path)
    deleted = (await client.get(path)).json()
    before = all_rows(manager_of(application))
    # To every change it is not there, also to one that would change nothing.
    problem(await client.put(path, json=deleted), "project_not_found")
    assert all_rows(manager_of(application)) == before


async def test_a_revealed_secret_can_be_sent_back(client: httpx.AsyncClient) -> None:
    await make_project(client, secrets=[{"key": "KEY", "value": "v"}])
    path = "/api/projects/1/secrets/KEY"
    metadata = (await client.get(path)).json()
    revealed = (await client.get(f"{path}/value")).json()
    assert (await client.put(path, json=revealed)).json() == metadata
    assert (await client.put(path, json=metadata)).json() == metadata
    # By mistake, such as a variable that is not set.
    assert places(await client.put(path, json={"value": None})) == ["/value"]
    # A secret that there is not needs its value.
    other = path.replace("KEY", "OTHER")
    assert places(await client.put(other, json=metadata)) == ["/value"]
    assert (await client.get(other)).status_code == 404


async def test_a_list_of_secrets_can_be_sent_back_with_changes(client: httpx.AsyncClient) -> None:
    secrets = [{"key": key, "value": "v"} for key in ("A", "B", "C")]
    await make_project(client, secrets=secrets)
    listed = (await client.get("/api/projects/1/secrets")).json()
    listed["secrets"][1]["value"] = "changed"
    listed["secrets"].append({"key": "D", "value": "new"})
    answer = await client.put("/api/projects/1/secrets", json=listed)
    assert answer.json() == {"created": 1, "updated": 1, "unchanged": 2}
    shown = (await client.get("/api/projects/1/secrets/B/value")).json()
    assert (shown["value"], shown["version"]) == ("changed", 2)
    for wrong, place in (
        ({**listed["secrets"][0], "key": "E"}, "/secrets/1/value"),
        ({"key": "A", "value": None}, "/secrets/1/value"),
    ):
        body = {"secrets": [{"key": "F", "value": "v"}, wrong]}
        assert places(await client.put("/api/projects/1/secrets", json=body)) == [place]
    # A new project has no secret that could stay as it is.
    answer = await client.post("/api/projects", json=new_project(secrets=listed["secrets"][:1]))
    assert places(answer) == ["/secrets/0/value"]


async def test_an_unreadable_secret_that_is_sent_back_is_told_as_such(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await make_project(client, secrets=[{"key": "KEY", "value": "v"}])
    await manager_of(application).async_execute_command("UPDATE project_secrets SET version = 7")
    path = "/api/projects/1/secrets/KEY"
    metadata = (await client.get(path)).json()
    assert metadata["status"] == "unreadable"
    assert (await client.put(path, json=metadata)).json() == metadata


async def test_a_project_can_be_made_of_what_was_read_of_another(client: httpx.AsyncClient) -> None:
    await make_project(client, settings={"planning_statement": "p", "branch_name": "b"})
    full = (await client.get("/api/projects/1/full")).json()
    body = {**full["project"], "github_repo": "copy", "settings": full["settings"]}
    answer = await client.post("/api/projects", json=body)
    assert answer.status_code == 201, answer.text
    copy = (await client.get(f"/api/projects/{answer.json()['id']}/full")).json()
    for name in ("planning_statement", "branch_name", "version"):
        assert copy["settings"][name] == full["settings"][name]


async def test_a_page_of_test_results_and_of_logs_can_be_sent_to_another_run(
    client: httpx.AsyncClient,
) -> None:
    await make_project(client)
    runs = [f"/api/agent-runs/{n}" for n in (1, 2)]
    for _ in runs:
        await post(client, "/api/agent-runs", project_id=1, target_text="t")
    await post(client, f"{runs[0]}/test-results", test_type="u", test_name="t", status="passed")
    page = (await client.get(f"{runs[0]}/test-results")).json()
    answer = await client.post(f"{runs[1]}/test-results", json=page)
    assert answer.json() == {"created": 1, "updated": 0, "unchanged": 0}
    await post(client, "/api/logs", level="INFO", message="m")
    answer = await client.post("/api/logs", json=(await client.get("/api/logs")).json())
    assert answer.json() == {"accepted": 1}


async def test_an_item_of_every_list_can_be_sent_again(
    client: httpx.AsyncClient, resources: dict[str, list[str]]
) -> None:
    run = resources["/api/agent-runs/{run_id}"][0]
    await post(client, f"{run}/pipeline-states", state="testing", metadata={"a": 1})
    await post(client, f"{run}/test-results", test_type="u", test_name="t", status="passed")
    await post(client, "/api/logs", level="INFO", message="m", agent_run_id=1)
    await post(client, "/api/tokens", name="n", scopes=["runs:read"], project_ids=[1])
    tried = 0
    for call in LISTS:
        if call.template in NOT_MADE:
            continue
        listed = (await client.get(call.path())).json()
        for item in next(part for part in listed.values() if isinstance(part, list)):
            answer = await client.post(call.path(), json=item)
            # What is refused does not fit the document either.
            assert fits(call, item) is (answer.status_code != 422)
            if item.get("status") == "destroyed":
                assert places(answer) == ["/status"], "no snapshot begins with its end"
                continue
            # Taken, or refused because it is there already.
            assert answer.status_code in (201, 409), f"{call}: {answer.text}"
            tried += 1
    assert tried > 10


def test_the_docs_name_what_is_ignored() -> None:
    text = DOCS.read_text(encoding="utf-8")
    part = text[text.index("An unknown field in a body") : text.index("`PUT` and `PATCH`")]
    named = set(re.findall(r"`(\w+)`", part))
    ignored = {name for shape in shapes() for name in shape.answer_only}
    assert ignored - named == set()
