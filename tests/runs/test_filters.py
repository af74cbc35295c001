"""Lists of runs and of test results, filtered by several statuses and types."""

import itertools
from typing import Any

import pytest

from models import RunType, TestStatus
from tests.support.api import Api

STATUSES = ("pending", "running", "failed")


@pytest.fixture
async def runs(api: Api) -> list[dict[str, Any]]:
    """Runs of every type in three statuses, in two projects; the newest first."""
    second = await api.new_project("second")
    made = []
    for project, status, run_type in itertools.product((1, second), STATUSES, RunType):
        run = await api.new_run(project, run_type=run_type)
        if status != "pending":
            run = await api.step(run["id"], status)
        made.append(run)
    return made[::-1]


async def walk(api: Api, params: dict[str, Any]) -> list[dict[str, Any]]:
    """The whole list, three runs per page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await api.client.get("/api/agent-runs", params={**params, "limit": 3, **cursor})
        page = answer.json()
        found += page["agent_runs"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def some(values: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every combination of the values, including none and all."""
    return [c for size in range(len(values) + 1) for c in itertools.combinations(values, size)]


async def test_runs_of_any_of_several_statuses_and_types(
    api: Api, runs: list[dict[str, Any]]
) -> None:
    types = tuple(run_type.value for run_type in RunType)
    for statuses, run_types in itertools.product(some((*STATUSES, "paused")), some(types)):
        for project_id in (None, 2):
            params: dict[str, Any] = {"status": statuses, "run_type": run_types}
            if project_id is not None:
                params["project_id"] = project_id
            expected = [
                run
                for run in runs
                if (not statuses or run["status"] in statuses)
                and (not run_types or run["run_type"] in run_types)
                and project_id in (None, run["project_id"])
            ]
            assert await walk(api, params) == expected, params


async def test_the_same_choice_is_the_same_list(api: Api, runs: list[dict[str, Any]]) -> None:
    assert runs
    path = "/api/agent-runs?limit=2"
    page = await api.get(f"{path}&status=running&status=failed&run_type=pr&run_type=plan")
    again = "&status=failed&status=running&status=failed&run_type=plan&run_type=pr&run_type=pr"
    following = await api.get(f"{path}{again}&cursor={page['next_cursor']}")
    ids = [run["id"] for run in (*page["agent_runs"], *following["agent_runs"])]
    assert ids == sorted(set(ids), reverse=True)
    for other in ("&status=failed", "&status=failed&status=running&run_type=pr", ""):
        problem = await api.get(f"{path}{other}&cursor={page['next_cursor']}", 400)
        assert problem["code"] == "bad_cursor"


async def test_results_of_any_of_several_statuses(api: Api) -> None:
    await api.new_run()
    path = "/api/agent-runs/1/test-results"
    for number, status in enumerate([*TestStatus, *TestStatus]):
        result = {"test_type": "unit", "test_name": f"t{number}", "status": status}
        await api.post(path, result, 201)
    for chosen in some(tuple(status.value for status in TestStatus)):
        answer = await api.client.get(path, params={"status": chosen, "test_type": "unit"})
        found = answer.json()["test_results"]
        ids = [result["id"] for result in found]
        assert ids == sorted(ids, reverse=True)
        assert {result["status"] for result in found} == set(chosen or TestStatus)
        assert len(found) == 2 * len(chosen or TestStatus)
