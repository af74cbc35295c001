"""A run changes its status only as the table permits."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.services.runs.states import FINAL, TRANSITIONS, sources
from models import RunStatus
from tests.support.api import Api, codes
from tests.support.clocks import SetClock

# Copied from the contract, not from the code.
CONTRACT = {
    "pending": ["running", "cancelled", "failed"],
    "running": ["paused", "completed", "failed", "cancelled"],
    "paused": ["running", "cancelled", "failed"],
    "completed": [],
    "failed": [],
    "cancelled": [],
}
WAY_TO = {
    "pending": [],
    "running": ["running"],
    "paused": ["running", "paused"],
    "completed": ["running", "completed"],
    "failed": ["failed"],
    "cancelled": ["cancelled"],
}


async def run_in(api: Api, status: str) -> dict[str, Any]:
    """A run with this status."""
    run = await api.new_run()
    for step in WAY_TO[status]:
        run = await api.step(run["id"], step)
    assert run["status"] == status
    return run


def test_the_table_is_the_contracts() -> None:
    assert {
        status.value: [to.value for to in targets] for status, targets in TRANSITIONS.items()
    } == CONTRACT
    assert {"completed", "failed", "cancelled"} == FINAL
    for target in RunStatus:
        expected = {status for status, targets in CONTRACT.items() if target.value in targets}
        assert set(sources(target)) == expected


@pytest.mark.parametrize("current", CONTRACT)
@pytest.mark.parametrize("to", CONTRACT)
async def test_each_step_is_taken_or_refused_as_the_table_says(
    api: Api, clock: SetClock, current: str, to: str
) -> None:
    run = await run_in(api, current)
    clock.advance(10)
    if to in CONTRACT[current]:
        moved = await api.step(run["id"], to)
        started = clock.text() if (current, to) == ("pending", "running") else run["started_at"]
        assert moved == {
            **run,
            "status": to,
            "started_at": started,
            "completed_at": clock.text() if not CONTRACT[to] else None,
            "updated_at": clock.text(),
            "version": run["version"] + 1,
        }
        assert await api.run(run["id"]) == moved
    else:
        problem = await api.step(run["id"], to, 409)
        assert problem["code"] == "invalid_transition"
        assert problem["current"] == current
        assert problem["allowed"] == CONTRACT[current]
        assert await api.run(run["id"]) == run


@pytest.mark.shared
@pytest.mark.parametrize("current", CONTRACT)
async def test_cancel_is_short_for_cancelled(api: Api, current: str) -> None:
    run = await run_in(api, current)
    path = f"/api/agent-runs/{run['id']}/cancel"
    if "cancelled" in CONTRACT[current]:
        assert (await api.post(path))["status"] == "cancelled"
    else:
        problem = await api.post(path, None, 409)
        assert (problem["code"], problem["current"]) == ("invalid_transition", current)
        assert problem["allowed"] == CONTRACT[current]


async def test_cancel_takes_a_body_and_does_without(api: Api) -> None:
    for _ in range(4):
        await api.new_run()
    assert (await api.post("/api/agent-runs/1/cancel", {}))["error_message"] is None
    told = await api.post("/api/agent-runs/2/cancel", {"error_message": "why", "result": "what"})
    assert (told["error_message"], told["result"]) == ("why", "what")
    declared = await api.client.post(
        "/api/agent-runs/3/cancel", headers={"Content-Type": "application/json"}
    )
    assert declared.json()["status"] == "cancelled"
    problem = await api.post("/api/agent-runs/4/cancel", {"to": "failed"}, 422)
    assert codes(problem) == [("/to", "extra_forbidden")]
    for content, status, code in (
        (b"{", 400, "malformed_json"),
        (b'{"result": NaN}', 400, "malformed_json"),
    ):
        answer = await api.client.post(
            "/api/agent-runs/4/cancel",
            content=content,
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    plain = await api.client.post("/api/agent-runs/4/cancel", content=b"{}")
    assert plain.json()["code"] == "unsupported_media_type"
    assert (await api.run(4))["status"] == "pending"


async def test_a_transition_tells_what_came_of_the_run(api: Api) -> None:
    await api.new_run()
    running = await api.step(1, "running", result="half", error_message="slow")
    assert (running["result"], running["error_message"]) == ("half", "slow")
    done = await api.step(1, "completed", result="whole", error_message=None)
    assert (done["result"], done["error_message"]) == ("whole", None)
    kept = await api.new_run()
    await api.step(kept["id"], "running", result="half")
    assert (await api.step(kept["id"], "failed"))["result"] == "half"


async def test_a_refused_transition_leaves_no_result(api: Api) -> None:
    run = await api.new_run()
    await api.step(1, "completed", 409, result="never")
    assert await api.run(1) == run


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ("/to", "missing")),
        ({"to": "done"}, ("/to", "enum")),
        ({"to": None}, ("/to", "enum")),
        ({"to": "running", "result": 1}, ("/result", "string_type")),
        ({"to": "running", "result": "a\0"}, ("/result", "nul_character")),
        (
            {"to": "running", "error_message": "x" * 1_000_001},
            ("/error_message", "string_too_long"),
        ),
        ({"to": "running", "lease_token": 1}, ("/lease_token", "string_type")),
        ({"to": "running", "status": "running"}, ("/status", "extra_forbidden")),
    ],
)
async def test_a_wrong_transition_is_told(
    api: Api, body: dict[str, Any], wrong: tuple[str, str]
) -> None:
    run = await api.new_run()
    assert codes(await api.post("/api/agent-runs/1/transitions", body, 422)) == [wrong]
    assert await api.run(1) == run


@pytest.mark.shared
@pytest.mark.parametrize("current", ["completed", "failed", "cancelled"])
async def test_a_finished_run_keeps_what_it_was_and_what_came_of_it(api: Api, current: str) -> None:
    run = await run_in(api, current)
    path = f"/api/agent-runs/{run['id']}"
    for field, value in {
        "target_text": "another",
        "planning_statement": "another",
        "run_type": "pr",
        "result": "another",
        "error_message": "another",
    }.items():
        problem = await api.patch(path, {field: value, "pr_number": 7}, 409)
        assert problem["code"] == "invalid_transition"
        assert (problem["current"], problem["allowed"]) == (current, [])
        assert field in problem["detail"]
    assert await api.run(run["id"]) == run
    same = {name: run[name] for name in ("target_text", "result", "error_message")}
    later = {
        "pr_number": 7,
        "pr_url": "https://github.com/acme/payments/pull/7",
        "web_url": "https://example.com",
        "codegen_run_id": "cg",
        "validation_status": "passed",
        "merge_completed": True,
        "auto_merge_enabled": True,
        "metadata": {"merged": True},
    }
    assert await api.patch(path, {**same, **later}) == {
        **run,
        **later,
        "version": run["version"] + 1,
    }


async def test_a_run_starts_with_the_settings_of_that_moment(api: Api) -> None:
    settings = "/api/projects/1/configuration"
    run = await api.new_run()
    assert run["settings_version"] == 1
    await api.patch(settings, {"branch_name": "develop"})
    assert (await api.run(1))["settings_version"] == 1
    assert (await api.step(1, "running"))["settings_version"] == 2
    await api.patch(settings, {"branch_name": "other"})
    await api.step(1, "paused")
    assert (await api.step(1, "running"))["settings_version"] == 2
    await api.new_run()
    assert (await api.claim())["settings_version"] == 3


@pytest.mark.shared
async def test_of_two_racing_transitions_one_wins(api: Api) -> None:
    for _ in range(20):
        run = await api.new_run()
        await api.step(run["id"], "running")
        path = f"/api/agent-runs/{run['id']}/transitions"
        answers = await asyncio.gather(
            *(
                api.client.post(path, json={"to": to, "result": to})
                for to in ("completed", "failed", "cancelled") * 3
            )
        )
        won = [answer for answer in answers if answer.status_code == 200]
        lost = [answer.json() for answer in answers if answer.status_code == 409]
        assert (len(won), len(lost)) == (1, 8)
        final = won[0].json()
        assert final["status"] == final["result"]
        assert {problem["current"] for problem in lost} == {final["status"]}
        assert await api.run(run["id"]) == final


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(list(CONTRACT)), max_size=12))
def test_any_sequence_of_steps_follows_the_table(
    walker: "asyncio.Runner", walk_api: Api, steps: list[str]
) -> None:
    async def walk() -> None:
        run = await walk_api.new_run()
        status = "pending"
        for step in steps:
            allowed = CONTRACT[status]
            answer = await walk_api.step(run["id"], step, 200 if step in allowed else 409)
            if step in allowed:
                status = step
                assert (answer["completed_at"] is None) == bool(CONTRACT[status])
            else:
                assert (answer["current"], answer["allowed"]) == (status, allowed)
        last = await walk_api.run(run["id"])
        assert last["status"] == status
        taken = last["version"] - 1
        assert taken <= len(steps)

    walker.run(walk())
