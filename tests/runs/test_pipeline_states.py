"""The history of a run: states in order, each with the previous state and its duration."""

import json
from typing import Any

import pytest

from database.errors import InvalidValue
from models import PipelineStateName
from tests.support.api import Api, Json, codes
from tests.support.clocks import SetClock

ALL = [
    "created",
    "webhook_setup",
    "agent_running",
    "plan_confirmation",
    "pr_created",
    "snapshot_creating",
    "deployment_running",
    "testing",
    "validation_complete",
    "auto_merging",
    "completed",
    "failed",
    "cancelled",
]
PATH = "/api/agent-runs/1/pipeline-states"


async def add(api: Api, state: str, run_id: int = 1, **fields: Any) -> Json:
    """Add a state, and return it."""
    path = f"/api/agent-runs/{run_id}/pipeline-states"
    added: Json = await api.post(path, {"state": state, **fields}, 201)
    return added


async def test_a_new_run_has_no_history(api: Api) -> None:
    run = await api.new_run()
    assert await api.get(PATH) == {"agent_run": run, "pipeline_states": [], "next_cursor": None}


async def test_each_state_names_the_one_before_it_by_itself(api: Api, clock: SetClock) -> None:
    await api.new_run()
    assert set(ALL) == {state.value for state in PipelineStateName}
    previous = None
    for number, state in enumerate(ALL, 1):
        clock.advance(1)
        assert await add(api, state, metadata={"n": number}) == {
            "id": number,
            "agent_run_id": 1,
            "state": state,
            "previous_state": previous,
            "metadata": {"n": number},
            "created_at": clock.text(),
            "duration_seconds": None,
        }
        previous = state


async def test_what_the_client_says_of_the_state_before_is_ignored(api: Api) -> None:
    await api.new_run()
    first = await add(api, "created", previous_state="failed")
    assert first["previous_state"] is None
    sent = {**first, "state": "testing", "previous_state": "cancelled"}
    again = await api.post(PATH, sent, 201)
    assert (again["id"], again["previous_state"]) == (2, "created")


async def test_histories_of_runs_are_apart(api: Api) -> None:
    await api.new_run()
    await api.new_run()
    await add(api, "created", 1)
    assert (await add(api, "testing", 2))["previous_state"] is None
    assert (await add(api, "testing", 1))["previous_state"] == "created"
    history = await api.get("/api/agent-runs/2/pipeline-states")
    assert [state["agent_run_id"] for state in history["pipeline_states"]] == [2]


async def test_one_call_gives_the_run_with_its_history_and_durations(
    api: Api, clock: SetClock
) -> None:
    await api.new_run()
    for state, seconds in (("created", 0.25), ("agent_running", 3600), ("testing", 12.000001)):
        await add(api, state)
        clock.advance(seconds)
    await add(api, "completed")
    history = await api.get(PATH)
    assert history["agent_run"] == await api.run(1)
    assert history["next_cursor"] is None
    assert [
        (entry["state"], entry["previous_state"], entry["duration_seconds"])
        for entry in history["pipeline_states"]
    ] == [
        ("created", None, 0.25),
        ("agent_running", "created", 3600),
        ("testing", "agent_running", 12.000001),
        ("completed", "testing", None),
    ]


async def test_a_clock_that_was_set_back_makes_no_negative_duration(
    api: Api, clock: SetClock
) -> None:
    await api.new_run()
    await add(api, "created")
    clock.advance(-60)
    await add(api, "testing")
    states = (await api.get(PATH))["pipeline_states"]
    assert [state["duration_seconds"] for state in states] == [0, None]


async def test_pages_join_and_know_the_durations_at_their_ends(api: Api, clock: SetClock) -> None:
    await api.new_run()
    for state in ALL[:7]:
        await add(api, state)
        clock.advance(2)
    seen: list[tuple[str, float | None]] = []
    cursor = ""
    while True:
        page = await api.get(f"{PATH}?limit=3{cursor}")
        seen += [(item["state"], item["duration_seconds"]) for item in page["pipeline_states"]]
        assert page["agent_run"]["id"] == 1
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [(state, 2.0) for state in ALL[:6]] + [(ALL[6], None)]


async def test_a_cursor_of_another_run_is_refused(api: Api) -> None:
    for run_id in (1, 2):
        await api.new_run()
        for state in ("created", "testing"):
            await add(api, state, run_id)
    cursor = (await api.get(f"{PATH}?limit=1"))["next_cursor"]
    problem = await api.get(f"/api/agent-runs/2/pipeline-states?cursor={cursor}", 400)
    assert problem["code"] == "bad_cursor"


async def test_a_finished_run_takes_the_states_of_what_comes_after_it(api: Api) -> None:
    await api.new_run()
    await api.step(1, "running")
    await api.step(1, "completed")
    await add(api, "auto_merging")
    assert (await add(api, "completed"))["previous_state"] == "auto_merging"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ("/state", "missing")),
        ({"state": "done"}, ("/state", "enum")),
        ({"state": None}, ("/state", "enum")),
        ({"state": "testing", "metadata": None}, ("/metadata", "dict_type")),
        ({"state": "testing", "metadata": "{}"}, ("/metadata", "dict_type")),
        ({"state": "testing", "other": 1}, ("/other", "extra_forbidden")),
    ],
)
async def test_a_wrong_state_is_told(api: Api, body: Json, wrong: tuple[str, str]) -> None:
    await api.new_run()
    assert codes(await api.post(PATH, body, 422)) == [wrong]
    assert (await api.get(PATH))["pipeline_states"] == []


async def test_history_can_not_be_rewritten(api: Api) -> None:
    await api.new_run()
    await add(api, "created")
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await api.call(method, PATH, {}, 405))["code"] == "method_not_allowed"
    with pytest.raises(InvalidValue):
        await api.service.repositories.pipeline_states.update(1, {"state": "failed"})


async def test_an_added_state_is_recorded(api: Api) -> None:
    await api.new_run()
    await add(api, "created", metadata={"secret": "s3cret"})
    rows = await api.service.db_manager.async_pool.fetch_all(
        "SELECT * FROM audit_entries ORDER BY id DESC LIMIT 1"
    )
    row = rows[0]
    assert (row["action"], row["target"]) == ("pipeline_state.added", "agent_runs/1")
    assert (row["project_id"], json.loads(row["fields"])) == (1, ["metadata", "state"])
