"""What is recorded when values leak, and what those who try values learn."""

import asyncio
import json

import httpx

from backend.schemas.logs import LogEntry
from backend.services.principal import Principal, acting_as
from backend.services.redaction.hits import MOST_HITS
from tests.redaction.encodings import KEY, MARKER
from tests.redaction.support import leaks, put
from tests.support.api import Api
from tests.support.clients import AsToken
from tests.support.clocks import SetClock
from tests.support.http import make_project
from tests.support.logs import found, log, messages, send

VALUE = "hunter2hunter2"
RESOURCE = f"projects/1/secrets/{KEY}"


async def test_a_hit_is_an_event_of_the_secret(api: Api, clock: SetClock) -> None:
    await put(api)
    await send(api, log(f"it is {VALUE}", project_id=1))
    [event] = (await api.get("/api/events?kind=secret.leaked"))["events"]
    assert event.pop("id") > 0
    assert event == {
        "at": clock.text(),
        "kind": "secret.leaked",
        "project_id": 1,
        "resource": RESOURCE,
        "version": None,
        "actor": "anonymous",
        "fields": ["logs"],
    }
    assert (await api.get(f"/api/events?resource={RESOURCE}"))["events"][-1]["kind"] == event[
        "kind"
    ]
    [entry] = (await api.get("/api/audit?action=secret.leaked"))["entries"]
    assert entry["target"] == RESOURCE
    assert VALUE not in json.dumps(entry)


async def test_a_leak_is_told_once_a_minute_for_each_place(api: Api, clock: SetClock) -> None:
    await put(api)
    await put(api, "B", "another value")
    run = await api.new_run()
    for _ in range(3):
        await send(api, *[log(VALUE, project_id=1)] * 5, log(VALUE, agent_run_id=run["id"]))
    await send(api, log(f"another value, {VALUE}", project_id=1))
    of_run = [f"agent-runs/{run['id']}/logs"]
    first = [(RESOURCE, ["logs"]), (RESOURCE, of_run), ("projects/1/secrets/B", ["logs"])]
    assert sorted(await leaks(api)) == sorted(first)
    clock.advance(60)
    await send(api, log(VALUE, project_id=1))
    await send(api, log(VALUE, project_id=1))
    assert (await leaks(api))[3:] == [(RESOURCE, ["logs"])]


async def test_leaks_of_one_batch_are_told_once(api: Api) -> None:
    await put(api)
    await asyncio.gather(*(send(api, log(VALUE, project_id=1)) for _ in range(20)))
    assert await messages(api) == [MARKER] * 20
    assert await leaks(api) == [(RESOURCE, ["logs"])]


async def test_the_event_is_rolled_back_with_its_text(api: Api) -> None:
    await put(api)
    wrong = log(VALUE, agent_run_id=99)
    await api.post("/api/logs", {"logs": [log(VALUE, project_id=1), wrong]}, 404)
    assert await leaks(api) == []
    run = await api.new_run()
    await api.step(run["id"], "completed", 409, result=VALUE)
    assert await leaks(api) == []
    # The next one is told.
    await send(api, log(VALUE, project_id=1))
    assert await leaks(api) == [(RESOURCE, ["logs"])]


async def test_a_text_that_was_stored_before_is_no_leak(api: Api, clock: SetClock) -> None:
    await put(api)
    run = await api.new_run(metadata={"a": VALUE})
    assert len(await leaks(api)) == 1
    await api.patch(f"/api/agent-runs/{run['id']}", {"metadata": run["metadata"]})
    await send(api, log(f"{MARKER} is how it is shown", project_id=1))
    assert len(await leaks(api)) == 1
    path = f"/api/agent-runs/{run['id']}/test-results"
    result = {"test_type": "t", "test_name": "t", "status": "failed", "error_message": VALUE}
    await api.post(path, result, 201)
    assert len(await leaks(api)) == 2
    clock.advance(60)
    await api.post(path, result, 201)
    await api.patch(f"/api/agent-runs/{run['id']}", {"metadata": {"a": VALUE}})
    assert len(await leaks(api)) == 2


async def test_each_token_is_told_of(api: Api) -> None:
    await put(api)
    for id in (1, 2, 1, 2):
        await send_as(api, id, VALUE)
    entries = (await api.get("/api/audit?action=secret.leaked"))["entries"]
    assert [entry["actor"] for entry in entries] == ["a token", "a token"]
    assert {entry["actor_token_id"] for entry in entries} == {1, 2}


async def test_who_may_read_projects_sees_leaks(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    await make_project(client, secrets=[{"key": KEY, "value": VALUE}])
    other = await make_project(client)
    assert (await client.post("/api/logs", json=log(VALUE, project_id=1))).status_code == 201
    for scope, projects, count in (
        ("projects:read", None, 1),
        ("projects:read", [1], 1),
        ("projects:read", [other["id"]], 0),
        ("runs:read", None, 0),
    ):
        reader = await as_token(scope, project_ids=projects)
        events = (await reader.get("/api/events?kind=secret.leaked")).json()["events"]
        assert len(events) == count, (scope, projects)


async def test_after_many_hits_a_text_does_not_show_which_part_it_was(
    api: Api, clock: SetClock
) -> None:
    await put(api)
    await put(api, "B", "another value")
    text = f"was it {VALUE}, or another one?"
    await send(api, *(log(text, project_id=1) for _ in range(MOST_HITS)))
    assert {item["message"] for item in await found(api, limit=500)} == {
        f"was it {MARKER}, or another one?"
    }
    # None is refused, and what has no value stays as it is.
    context = {"a": [text, "other"], "b": "another value?"}
    await send(api, log(text, project_id=1), log("other", project_id=1, context=context))
    last, before = (await found(api))[:2]
    assert (before["message"], last["message"]) == (MARKER, "other")
    assert last["context"] == {"a": [MARKER, "other"], "b": "[secret:B]"}
    clock.advance(60)
    await send(api, log(text, project_id=1))
    assert (await messages(api))[0] == f"was it {MARKER}, or another one?"


async def test_each_token_has_its_own_limit(api: Api) -> None:
    await put(api)
    guesses = " ".join(["a guess", *[VALUE] * MOST_HITS])
    whole = " ".join(["a guess", *[MARKER] * MOST_HITS])
    for id, expected in ((1, whole), (1, MARKER), (2, whole), (2, MARKER)):
        await send_as(api, id, guesses)
        assert (await messages(api))[0] == expected


async def send_as(api: Api, token_id: int, message: str) -> None:
    """Store a log for a token of this id."""
    with acting_as(Principal("a token", frozenset({"logs:write"}), token_id)):
        await api.service.logs.append([LogEntry.model_validate(log(message, project_id=1))])
