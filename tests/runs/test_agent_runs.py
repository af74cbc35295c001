"""Runs are created, read, listed and changed."""

import json
from typing import Any

import pytest

from tests.support.api import Api, codes
from tests.support.clocks import SetClock

FIELDS = {
    "id",
    "project_id",
    "run_number",
    "target_text",
    "planning_statement",
    "run_type",
    "status",
    "result",
    "error_message",
    "pr_number",
    "pr_url",
    "web_url",
    "codegen_run_id",
    "validation_status",
    "auto_merge_enabled",
    "merge_completed",
    "metadata",
    "settings_version",
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
    "version",
}


async def test_a_new_run_is_pending_and_numbered(api: Api, clock: SetClock) -> None:
    body = {"project_id": 1, "target_text": "Add a dark mode"}
    response = await api.client.post("/api/agent-runs", json=body)
    assert response.status_code == 201
    run = response.json()
    assert response.headers["location"] == f"/api/agent-runs/{run['id']}"
    assert run == {
        "id": 1,
        "project_id": 1,
        "run_number": 1,
        "target_text": "Add a dark mode",
        "planning_statement": None,
        "run_type": "regular",
        "status": "pending",
        "result": None,
        "error_message": None,
        "pr_number": None,
        "pr_url": None,
        "web_url": None,
        "codegen_run_id": None,
        "validation_status": "pending",
        "auto_merge_enabled": False,
        "merge_completed": False,
        "metadata": {},
        "settings_version": 1,
        "created_at": clock.text(),
        "updated_at": clock.text(),
        "started_at": None,
        "completed_at": None,
        "version": 1,
    }
    assert await api.run(1) == run


async def test_a_run_keeps_what_it_was_made_with(api: Api) -> None:
    run = await api.new_run(
        target_text="x" * 50_000,
        planning_statement="Think first.",
        run_type="plan",
        metadata={"who": "me"},
    )
    assert len(run["target_text"]) == 50_000
    assert run["planning_statement"] == "Think first."
    assert run["run_type"] == "plan"
    assert run["metadata"] == {"who": "me"}
    assert await api.run(run["id"]) == run


async def test_a_run_does_not_take_the_projects_planning_statement(api: Api) -> None:
    await api.patch("/api/projects/1/configuration", {"planning_statement": "Of the project."})
    assert (await api.new_run())["planning_statement"] is None


async def test_a_run_merges_by_itself_if_its_project_does(api: Api) -> None:
    other = await api.new_project("auto", auto_merge_enabled=True)
    assert (await api.new_run(other))["auto_merge_enabled"] is True
    assert (await api.new_run(1))["auto_merge_enabled"] is False


async def test_numbers_count_within_each_project(api: Api) -> None:
    other = await api.new_project("other")
    made = [await api.new_run(project) for project in (1, other, 1, 1, other)]
    assert [(run["project_id"], run["run_number"]) for run in made] == [
        (1, 1),
        (other, 1),
        (1, 2),
        (1, 3),
        (other, 2),
    ]


async def test_a_number_is_not_given_twice_when_the_newest_run_is_gone(api: Api) -> None:
    await api.new_run()
    newest = await api.new_run()
    assert await api.service.repositories.runs.delete(newest["id"])
    assert (await api.new_run())["run_number"] == 3


async def test_a_run_that_was_refused_takes_no_number(api: Api) -> None:
    await api.post("/api/agent-runs", {"project_id": 1, "target_text": ""}, 422)
    await api.post("/api/agent-runs", {"project_id": 1}, 422)
    assert (await api.new_run())["run_number"] == 1


async def test_numbering_does_not_change_the_project(api: Api) -> None:
    before = await api.get("/api/projects/1")
    await api.new_run()
    await api.claim()
    assert await api.get("/api/projects/1") == before


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_run_needs_a_project_that_is_there(api: Api, deleted: bool) -> None:
    if deleted:
        await api.call("DELETE", "/api/projects/1", status=204)
    body = {"project_id": 1 if deleted else 99, "target_text": "x"}
    assert (await api.post("/api/agent-runs", body, 404))["code"] == "project_not_found"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"target_text": ""}, ("/target_text", "string_too_short")),
        ({"target_text": "x" * 50_001}, ("/target_text", "string_too_long")),
        ({"target_text": "a\0b"}, ("/target_text", "nul_character")),
        ({"target_text": None}, ("/target_text", "string_type")),
        ({"target_text": 1}, ("/target_text", "string_type")),
        ({"project_id": "1"}, ("/project_id", "int_type")),
        ({"project_id": 0}, ("/project_id", "greater_than_equal")),
        ({"project_id": 2**63}, ("/project_id", "less_than_equal")),
        ({"run_type": "other"}, ("/run_type", "enum")),
        ({"run_type": 1}, ("/run_type", "enum")),
        ({"run_type": None}, ("/run_type", "enum")),
        ({"planning_statement": "a\0b"}, ("/planning_statement", "nul_character")),
        ({"metadata": None}, ("/metadata", "dict_type")),
        ({"metadata": []}, ("/metadata", "dict_type")),
        ({"metadata": "{}"}, ("/metadata", "dict_type")),
        ({"status": "running"}, ("/status", "extra_forbidden")),
        ({"result": "done"}, ("/result", "extra_forbidden")),
        ({"unknown": 1}, ("/unknown", "extra_forbidden")),
    ],
)
async def test_a_wrong_field_of_a_new_run_is_told(
    api: Api, fields: dict[str, Any], wrong: tuple[str, str]
) -> None:
    body = {"project_id": 1, "target_text": "Do it", **fields}
    problem = await api.post("/api/agent-runs", body, 422)
    assert codes(problem) == [wrong]


@pytest.mark.shared
@pytest.mark.parametrize("missing", ["project_id", "target_text"])
async def test_a_new_run_needs_its_project_and_its_target(api: Api, missing: str) -> None:
    body = {"project_id": 1, "target_text": "Do it"}
    del body[missing]
    assert codes(await api.post("/api/agent-runs", body, 422)) == [(f"/{missing}", "missing")]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"pr_number": 1}),
        ("POST", "/transitions", {"to": "running"}),
        ("POST", "/cancel", None),
        ("POST", "/heartbeat", {"lease_token": "x"}),
        ("GET", "/pipeline-states", None),
        ("POST", "/pipeline-states", {"state": "created"}),
    ],
)
async def test_what_is_not_there_is_not_found(api: Api, method: str, path: str, body: Any) -> None:
    problem = await api.call(method, f"/api/agent-runs/99{path}", body, 404)
    assert problem["code"] == "agent_run_not_found"
    assert problem["type"] == "/problems/agent_run_not_found"


@pytest.mark.shared
async def test_an_id_that_no_run_can_have_is_told(api: Api) -> None:
    for id in ("0", "-1", str(2**63), "x"):
        problem = await api.get(f"/api/agent-runs/{id}", 422)
        assert problem["errors"][0]["pointer"] == "/path/run_id"


EVERYTHING = {
    "target_text": "Do that",
    "planning_statement": "Slowly.",
    "run_type": "pr",
    "result": "so far so good",
    "error_message": "but slow",
    "pr_number": 2**63 - 1,
    "pr_url": "https://github.com/acme/payments/pull/7",
    "web_url": "http://localhost:3000/x?y=z",
    "codegen_run_id": "cg-1",
    "validation_status": "passed",
    "auto_merge_enabled": True,
    "merge_completed": True,
    "metadata": {"a": [1, None, {"b": 2.5}]},
}
NULLABLE = [
    "planning_statement",
    "result",
    "error_message",
    "pr_number",
    "pr_url",
    "web_url",
    "codegen_run_id",
]


async def test_everything_but_the_status_can_be_patched(api: Api, clock: SetClock) -> None:
    run = await api.new_run()
    clock.advance(5)
    changed = await api.patch(f"/api/agent-runs/{run['id']}", EVERYTHING)
    assert changed == {**run, **EVERYTHING, "updated_at": clock.text(), "version": 2}
    assert set(changed) == FIELDS
    assert await api.run(run["id"]) == changed


@pytest.mark.shared
@pytest.mark.parametrize("field", EVERYTHING)
async def test_a_patch_of_one_field_leaves_the_others(api: Api, field: str) -> None:
    run = await api.new_run()
    changed = await api.patch(f"/api/agent-runs/{run['id']}", {field: EVERYTHING[field]})
    assert changed == {**run, field: EVERYTHING[field], "version": 2}


@pytest.mark.shared
@pytest.mark.parametrize("field", EVERYTHING)
async def test_null_clears_what_can_be_null(api: Api, field: str) -> None:
    run = await api.new_run()
    path = f"/api/agent-runs/{run['id']}"
    full = await api.patch(path, EVERYTHING)
    if field in NULLABLE:
        assert await api.patch(path, {field: None}) == {**full, field: None, "version": 3}
    else:
        problem = await api.patch(path, {field: None}, 422)
        assert [pointer for pointer, _ in codes(problem)] == [f"/{field}"]
        assert await api.run(run["id"]) == full


@pytest.mark.parametrize("status", ["running", "completed", "cancelled"])
async def test_a_status_can_not_be_patched(api: Api, status: Any) -> None:
    run = await api.new_run()
    path = f"/api/agent-runs/{run['id']}"
    problem = await api.patch(path, {"status": status, "pr_number": 1}, 422)
    assert codes(problem) == [("/status", "status_by_transition")]
    assert "transitions" in problem["errors"][0]["message"]
    assert await api.run(run["id"]) == run


async def test_what_was_read_can_be_sent_back_without_its_status(api: Api) -> None:
    run = await api.new_run(metadata={"z": 1, "a": [1.0, True]})
    sent = {name: value for name, value in run.items() if name != "status"}
    assert await api.patch(f"/api/agent-runs/{run['id']}", sent) == run


@pytest.mark.shared
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pr_number", 0),
        ("pr_number", "7"),
        ("pr_url", "ftp://example.com"),
        ("web_url", "javascript:alert(1)"),
        ("codegen_run_id", ""),
        ("codegen_run_id", "x" * 256),
        ("codegen_run_id", "a\0"),
        ("validation_status", "ok"),
        ("auto_merge_enabled", 1),
        ("merge_completed", "true"),
        ("metadata", [1]),
        ("lease_token", ""),
    ],
)
async def test_a_wrong_value_of_a_patch_is_told(api: Api, field: str, value: Any) -> None:
    await api.new_run()
    problem = await api.patch("/api/agent-runs/1", {field: value}, 422)
    assert [pointer for pointer, _ in codes(problem)] == [f"/{field}"]


async def test_runs_are_listed_newest_first(api: Api) -> None:
    other = await api.new_project("other")
    made = [await api.new_run(project) for project in (1, other, 1, other, 1)]
    await api.step(made[2]["id"], "running")
    await api.step(made[3]["id"], "cancelled")

    async def ids(query: str) -> list[int]:
        return [run["id"] for run in (await api.get(f"/api/agent-runs{query}"))["agent_runs"]]

    assert await ids("") == [5, 4, 3, 2, 1]
    assert await ids("?project_id=1") == [5, 3, 1]
    assert await ids(f"?project_id={other}") == [4, 2]
    assert await ids("?status=pending") == [5, 2, 1]
    assert await ids("?status=pending&project_id=1") == [5, 1]
    assert await ids("?status=completed") == []
    assert await ids("?project_id=99") == []
    listed = await api.get("/api/agent-runs?status=running")
    assert listed == {"agent_runs": [await api.run(3)], "next_cursor": None}


@pytest.mark.parametrize("query", ["", "&project_id=1", "&status=pending"])
async def test_pages_join_without_gap_or_repetition(api: Api, query: str) -> None:
    for _ in range(7):
        await api.new_run()
    seen: list[int] = []
    cursor = ""
    while True:
        page = await api.get(f"/api/agent-runs?limit=3{query}{cursor}")
        seen += [run["id"] for run in page["agent_runs"]]
        if page["next_cursor"] is None:
            break
        # A run that is added meanwhile is newer than all runs on the page.
        await api.new_run()
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for _ in range(2):
        await api.new_run()
    cursor = (await api.get("/api/agent-runs?limit=1"))["next_cursor"]
    for query in (f"status=pending&cursor={cursor}", f"project_id=1&cursor={cursor}", "cursor=AA"):
        problem = await api.get(f"/api/agent-runs?limit=1&{query}", 400)
        assert problem["code"] == "bad_cursor"


@pytest.mark.shared
@pytest.mark.parametrize("query", ["limit=0", "limit=501", "status=other", "project_id=0"])
async def test_a_wrong_filter_is_told(api: Api, query: str) -> None:
    problem = await api.get(f"/api/agent-runs?{query}", 422)
    assert problem["errors"][0]["pointer"] == f"/query/{query.partition('=')[0]}"


async def test_a_purged_project_takes_its_runs_along(api: Api) -> None:
    await api.new_run()
    await api.post("/api/agent-runs/1/pipeline-states", {"state": "created"}, 201)
    await api.call("DELETE", "/api/projects/1?purge=true", status=204)
    await api.get("/api/agent-runs/1", 404)
    await api.claim_nothing()


async def test_every_change_is_recorded_with_the_names_of_its_fields(api: Api) -> None:
    await api.new_run(run_type="plan")
    await api.patch("/api/agent-runs/1", {"pr_number": 7})
    await api.patch("/api/agent-runs/1", {"pr_number": 7})
    await api.step(1, "running")
    await api.step(1, "paused")
    await api.step(1, "running")
    await api.step(1, "completed", result="s3cret")
    rows = await api.service.db_manager.async_pool.fetch_all(
        "SELECT * FROM audit_entries WHERE target = 'agent_runs/1' ORDER BY id"
    )
    assert [(row["action"], json.loads(row["fields"])) for row in rows] == [
        ("agent_run.created", ["run_type", "target_text"]),
        ("agent_run.updated", ["pr_number"]),
        ("agent_run.started", ["status"]),
        ("agent_run.paused", ["status"]),
        ("agent_run.resumed", ["status"]),
        ("agent_run.completed", ["result", "status"]),
    ]
    assert {row["project_id"] for row in rows} == {1}
    assert not any("s3cret" in str(tuple(row)) for row in rows)
