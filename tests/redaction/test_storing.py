"""What is stored of a project has markers in place of the values of its secrets."""

import asyncio
import json
from pathlib import Path

from tests.redaction.encodings import KEY, MARKER, forms, traces
from tests.redaction.support import leaks, put
from tests.support.api import Api, Json
from tests.support.logs import found, log, messages, send
from tests.support.webhooks import TOKEN, deliver

VALUE = 'hunter2/"hunter2"+hunter2 é'
XML = {"Content-Type": "application/xml"}


async def test_logs_have_no_value_in_any_form(api: Api, database_path: Path) -> None:
    await put(api, value=VALUE)
    every = [form for _, form in forms(VALUE)]
    await send(api, *(log(f"it is {form}!", project_id=1) for form in every))
    await send(api, *(log(project_id=1, context={"a": [form, {form: 1}]}) for form in every))
    lines = "\n".join(json.dumps(log(form, project_id=1)) for form in every)
    response = await api.client.post(
        "/api/logs", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert response.json() == {"accepted": len(every)}
    stored = await found(api, limit=500)
    assert len(stored) == 3 * len(every)
    shown = json.dumps(stored, ensure_ascii=False).encode()
    files = b"".join(file.read_bytes() for file in database_path.parent.rglob("*.db*"))
    for trace in traces(VALUE):
        assert trace not in shown
        assert trace not in files
    for item in stored:
        assert MARKER in item["message"] or MARKER in str(item["context"])


async def test_context_is_redacted_string_by_string(api: Api) -> None:
    await put(api, value=VALUE)
    await put(api, "NUMBER", "123456789012")
    await put(api, "OBJECT", '{"user":"me","password":"x y z"}')
    context = {
        "text": f"a\n{VALUE}",
        VALUE: 1,
        f" {VALUE}": [None, True, 1.5, "short"],
        "number": 123456789012,
        "others": [123456789013, -5, 2**70],
        "object": {"user": "me", "password": "x y z"},
    }
    await send(api, log(context=context, project_id=1))
    [stored] = await found(api)
    assert stored["context"] == {
        "text": f"a\n{MARKER}",
        MARKER: 1,
        f" {MARKER}": [None, True, 1.5, "short"],
        "number": "[secret:NUMBER]",
        "others": [123456789013, -5, 2**70],
        "object": "[secret:OBJECT]",
    }


async def test_names_that_become_the_same_stay_apart(api: Api) -> None:
    await put(api, value=VALUE)
    await put(api, "SAME", VALUE + "!")
    encoded = json.dumps(VALUE)[1:-1]
    await send(api, log(context={VALUE: 1, encoded: 2, "other": 3}, project_id=1))
    assert (await found(api))[0]["context"] == {MARKER: 1, f"{MARKER} (2)": 2, "other": 3}


async def test_logs_of_a_run_are_redacted_and_others_are_not(api: Api) -> None:
    await put(api, value=VALUE)
    await api.new_project("other")
    run = await api.new_run()
    await send(
        api,
        log(VALUE, agent_run_id=run["id"]),
        log(VALUE, project_id=2),
        log(VALUE),
        log(f"{VALUE} and {VALUE}", project_id=1),
    )
    assert await messages(api) == [f"{MARKER} and {MARKER}", VALUE, VALUE, MARKER]
    assert await leaks(api) == [
        (f"projects/1/secrets/{KEY}", [f"agent-runs/{run['id']}/logs"]),
        (f"projects/1/secrets/{KEY}", ["logs"]),
    ]


async def test_components_and_correlation_ids_stay(api: Api) -> None:
    await put(api, value="a component of it")
    fields = {"component": "a component of it", "correlation_id": "a component of it"}
    await send(api, log(project_id=1, **fields))
    [stored] = await found(api)
    assert {name: stored[name] for name in fields} == fields


async def test_markers_that_need_more_room_than_there_is_are_left_out(api: Api) -> None:
    key = "K" * 100
    await put(api, key, "twelve chars")
    await send(
        api,
        log("twelve chars " * 769, project_id=1),
        log(context={"a": ["twelve chars"] * 4000}, project_id=1),
    )
    big, long = await found(api)
    assert len(long["message"]) <= 10_000
    assert long["message"].replace(f"[secret:{key}]", "").strip() == ""
    assert big["context"] == {"redacted": f"[secret:{key}]"}


async def test_a_run_is_redacted(api: Api) -> None:
    await put(api, value=VALUE)
    texts: Json = {"target_text": VALUE, "planning_statement": VALUE}
    run = await api.new_run(**texts, metadata={"a": VALUE})
    assert run["metadata"] == {"a": MARKER}
    # The task is what people wrote, and agents read.
    assert {name: run[name] for name in texts} == texts
    path = f"/api/agent-runs/{run['id']}"
    changes = {"metadata": {"b": [VALUE]}, "result": f"got {VALUE}", "error_message": VALUE}
    expected = {"metadata": {"b": [MARKER]}, "result": f"got {MARKER}", "error_message": MARKER}
    changed = await api.patch(path, changes)
    assert {name: changed[name] for name in changes} == expected
    # Sent again, or sent back as it was read, it is the same.
    for body in (changes, changed):
        assert (await api.patch(path, body))["version"] == changed["version"]
    await api.step(run["id"], "running")
    done = await api.step(run["id"], "completed", result=VALUE, error_message=None)
    assert (done["result"], done["error_message"]) == (MARKER, None)
    other = await api.new_run()
    cancelled = await api.post(f"/api/agent-runs/{other['id']}/cancel", {"error_message": VALUE})
    assert cancelled["error_message"] == MARKER
    assert await api.get(path) == done
    resource = f"projects/1/secrets/{KEY}"
    assert await leaks(api) == [
        (resource, [f"agent-runs/{run['id']}"]),
        (resource, [f"agent-runs/{other['id']}"]),
    ]


async def test_runs_that_are_created_together_are_redacted(api: Api) -> None:
    await put(api, value=VALUE)
    made = await asyncio.gather(
        *(api.new_run(metadata={"a": VALUE if number % 2 else "x"}) for number in range(20))
    )
    assert [run["metadata"]["a"] for run in made] == ["x", MARKER] * 10
    assert len(await leaks(api)) == 10


async def test_pipeline_states_are_redacted(api: Api) -> None:
    await put(api, value=VALUE)
    run = await api.new_run()
    path = f"/api/agent-runs/{run['id']}/pipeline-states"
    state = await api.post(path, {"state": "created", "metadata": {"a": VALUE}}, 201)
    assert state["metadata"] == {"a": MARKER}
    assert (await api.get(path))["pipeline_states"][0]["metadata"] == {"a": MARKER}
    assert await leaks(api) == [
        (f"projects/1/secrets/{KEY}", [f"agent-runs/{run['id']}/pipeline-states"])
    ]


async def test_test_results_are_redacted_and_compared_after_that(api: Api) -> None:
    await put(api, value=VALUE)
    run = await api.new_run()
    path = f"/api/agent-runs/{run['id']}/test-results"
    result = {
        "test_type": "unit",
        "test_name": "t",
        "status": "failed",
        "error_message": f"expected {VALUE}",
        "result_data": {"a": VALUE},
    }
    stored = await api.post(path, result, 201)
    assert stored["error_message"] == f"expected {MARKER}"
    assert stored["result_data"] == {"a": MARKER}
    unchanged = {"created": 0, "updated": 0, "unchanged": 1}
    assert await api.post(path, {"test_results": [result]}, 201) == unchanged
    assert await leaks(api) == [
        (f"projects/1/secrets/{KEY}", [f"agent-runs/{run['id']}/test-results"])
    ]


async def test_files_of_results_are_redacted(api: Api) -> None:
    await put(api, value="hunter2hunter2")
    run = await api.new_run()
    path = f"/api/agent-runs/{run['id']}/test-results"
    case = (
        '<testcase classname="a" name="b"><failure message="got hunter2hunter2">hunter2hunter2'
        "</failure><system-out>aHVudGVyMmh1bnRlcjI=</system-out>"
        '<properties><property name="p" value="hunter2hunter2"/></properties></testcase>'
    )
    for expected in ({"created": 1, "unchanged": 0}, {"created": 0, "unchanged": 1}):
        response = await api.client.post(
            path, content=f"<testsuite>{case}</testsuite>", headers=XML
        )
        assert response.json() == {"updated": 0, **expected}
    # Other bytes, the same result.
    other = f"<testsuite> {case}</testsuite>"
    response = await api.client.post(path, content=other, headers=XML)
    assert response.json() == {"created": 0, "updated": 0, "unchanged": 1}
    [stored] = (await api.get(path))["test_results"]
    assert stored["error_message"] == f"got {MARKER}"
    assert stored["result_data"]["system_out"] == f"{MARKER}="
    assert stored["result_data"]["properties"] == [{"name": "p", "value": MARKER}]


async def test_repeated_answers_have_no_value(api: Api) -> None:
    await put(api, value=VALUE)
    body = {"project_id": 1, "target_text": "x", "metadata": {"a": VALUE}}
    headers = {"Idempotency-Key": "once"}
    first = await api.client.post("/api/agent-runs", json=body, headers=headers)
    second = await api.client.post("/api/agent-runs", json=body, headers=headers)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert first.json() == second.json()
    assert first.json()["metadata"] == {"a": MARKER}


async def test_a_search_finds_the_marker_and_not_the_value(api: Api) -> None:
    await put(api, value="hunter2hunter2")
    await send(api, log("login with hunter2hunter2 failed", project_id=1))
    assert await found(api, q="hunter2hunter2") == []
    assert len(await found(api, q="login secret API_KEY")) == 1


async def test_deliveries_stay_as_they_were_signed(api: Api) -> None:
    # Their bytes are kept for the signature; see tests/webhooks for what a delivery stores.
    await put(api, value="hunter2hunter2")
    hook = {
        "webhook_type": "github_pr",
        "webhook_url": "https://x.example/h",
        "events": ["push"],
        "secret_token": TOKEN,
    }
    made = await api.post("/api/projects/1/webhooks", hook, 201)
    body = json.dumps({"note": "hunter2hunter2"}).encode()
    response = await deliver(api.client, made["id"], body)
    assert response.status_code < 300, response.text
    [delivery] = (await api.get(f"/api/webhooks/{made['id']}/deliveries"))["deliveries"]
    whole = await api.get(f"/api/webhooks/{made['id']}/deliveries/{delivery['id']}")
    assert "hunter2hunter2" in json.dumps(whole)
