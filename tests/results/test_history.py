"""The outcomes of tests in a project's last runs."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.repositories.paging import Page
from backend.repositories.test_result_repository import Outcome, RunNumber
from backend.services.runs.flakiness import flips, merge
from tests.results.support import Json, make_run, results, upload
from tests.support.http import make_project, places, problem

TIME = "2026-01-31T12:00:00.000000Z"


async def history(client: httpx.AsyncClient, project_id: int, **params: Any) -> Json:
    response = await client.get(f"/api/projects/{project_id}/test-history", params=params)
    assert response.status_code == 200, response.text
    page: Json = response.json()
    return page


def found_in(page: Json) -> list[tuple[str, str]]:
    return [(test["test_type"], test["test_name"]) for test in page["tests"]]


@pytest.fixture(scope="module")
async def project_id(shared_client: httpx.AsyncClient) -> int:
    """A project with five runs, for tests that only read it; another project has the same tests."""
    client = shared_client
    project = int((await make_project(client))["id"])
    for tests in (
        ["unit/a/failed", "unit/b/passed", "e2e/a/passed"],
        ["unit/a/passed", "unit/b/passed", "e2e/a/error"],
        ["unit/a/skipped", "unit/b/running", "e2e/a/passed"],
        ["unit/a/failed", "unit/c/pending"],
        [],
    ):
        run = await make_run(client, project)
        await upload(client, run["id"], results(*tests, duration_seconds=1.5))
    other = await make_run(client)
    await upload(client, other["id"], results("unit/a/failed", "unit/z/failed"))
    return project


@pytest.mark.shared
async def test_tests_are_counted_over_the_last_runs(
    client: httpx.AsyncClient, project_id: int
) -> None:
    page = await history(client, project_id)
    assert (page["runs"], page["next_cursor"]) == (5, None)
    assert {test["results"] for test in page["tests"]} == {None}
    assert [
        (test["test_type"], test["test_name"], test["passed"], test["failed"], test["flips"])
        for test in page["tests"]
    ] == [
        ("e2e", "a", 2, 1, 2),
        ("unit", "a", 1, 2, 2),
        ("unit", "b", 2, 0, 0),
        ("unit", "c", 0, 0, 0),
    ]


@pytest.mark.shared
async def test_each_test_has_its_results_the_newest_run_first(
    client: httpx.AsyncClient, project_id: int
) -> None:
    page = await history(client, project_id, test_name="a", test_type="unit")
    (test,) = page["tests"]
    assert [(r["run_number"], r["status"]) for r in test["results"]] == [
        (4, "failed"),
        (3, "skipped"),
        (2, "passed"),
        (1, "failed"),
    ]
    newest = test["results"][0]
    path = f"/api/agent-runs/{newest['agent_run_id']}/test-results?status=failed"
    (stored,) = (await client.get(path)).json()["test_results"]
    assert newest == {
        "agent_run_id": stored["agent_run_id"],
        "run_number": 4,
        "status": "failed",
        "attempt": 1,
        "flaky": False,
        "duration_seconds": 1.5,
        "updated_at": stored["updated_at"],
    }


@pytest.mark.shared
async def test_no_more_runs_are_looked_at_than_asked_for(
    client: httpx.AsyncClient, project_id: int
) -> None:
    page = await history(client, project_id, runs=1)
    assert page == {"runs": 1, "tests": [], "next_cursor": None}
    page = await history(client, project_id, runs=2)
    assert (page["runs"], found_in(page)) == (2, [("unit", "a"), ("unit", "c")])
    assert page["tests"][0]["failed"] == 1
    assert (await history(client, project_id, runs=100))["runs"] == 5


@pytest.mark.shared
@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, [("e2e", "a"), ("unit", "a"), ("unit", "b"), ("unit", "c")]),
        ({"test_name": "a"}, [("e2e", "a"), ("unit", "a")]),
        ({"test_type": "unit"}, [("unit", "a"), ("unit", "b"), ("unit", "c")]),
        ({"test_name": "b", "test_type": "unit"}, [("unit", "b")]),
        ({"test_name": "A"}, []),
        ({"test_name": "z"}, []),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 50])
async def test_filters_and_pages(
    client: httpx.AsyncClient,
    project_id: int,
    params: dict[str, Any],
    found: list[tuple[str, str]],
    limit: int,
) -> None:
    whole = await history(client, project_id, **params)
    assert found_in(whole) == found
    collected: list[Json] = []
    cursor: dict[str, str] = {}
    while True:
        page = await history(client, project_id, limit=limit, **params, **cursor)
        assert len(page["tests"]) <= limit
        collected += page["tests"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert collected == whole["tests"]


@pytest.mark.shared
async def test_a_page_may_end_with_the_longest_names(client: httpx.AsyncClient) -> None:
    run = await make_run(client)
    kind = "💥" * 100
    names = ["💥" * 499 + last for last in "ab"]
    await upload(client, run["id"], results(*(f"{kind}/{name}/passed" for name in names)))
    first = await history(client, run["project_id"], limit=1)
    second = await history(client, run["project_id"], limit=1, cursor=first["next_cursor"])
    assert found_in(first) + found_in(second) == [(kind, name) for name in names]
    assert second["next_cursor"] is None


@pytest.mark.shared
async def test_a_cursor_belongs_to_its_project_and_filters(
    client: httpx.AsyncClient, project_id: int
) -> None:
    cursor = (await history(client, project_id, limit=1))["next_cursor"]
    other = (await make_project(client))["id"]
    for wrong, params in (
        (project_id, {"runs": 19}),
        (project_id, {"test_type": "unit"}),
        (project_id, {"test_name": "a"}),
        (other, {}),
    ):
        path = f"/api/projects/{wrong}/test-history"
        problem(await client.get(path, params={**params, "cursor": cursor}), "bad_cursor")


async def test_a_history_of_nothing(client: httpx.AsyncClient) -> None:
    problem(await client.get("/api/projects/9/test-history"), "project_not_found")
    project = (await make_project(client))["id"]
    empty = {"runs": 0, "tests": [], "next_cursor": None}
    assert await history(client, project) == empty
    for query, place in (("runs=0", "runs"), ("runs=101", "runs"), ("limit=501", "limit")):
        answer = await client.get(f"/api/projects/{project}/test-history?{query}")
        assert places(answer) == [f"/query/{place}"]


# The counting itself


@pytest.mark.parametrize(
    ("statuses", "count"),
    [
        ("", 0),
        ("p", 0),
        ("ppp", 0),
        ("fef", 0),
        ("pf", 1),
        ("ffpp", 1),
        ("pfpf", 3),
        ("epe", 2),
        ("p.f", 1),
        ("p.p", 0),
        ("...", 0),
    ],
)
def test_a_flip_is_a_pass_next_to_a_failure(statuses: str, count: int) -> None:
    kinds = {"p": "passed", "f": "failed", "e": "error", ".": "skipped"}
    assert flips(kinds[letter] for letter in statuses) == count


@given(
    runs=st.lists(st.sets(st.tuples(st.sampled_from("ab"), st.text(max_size=2))), max_size=6),
    limit=st.integers(min_value=1, max_value=4),
    cut=st.none() | st.integers(min_value=1, max_value=3),
)
def test_pages_of_each_run_make_pages_of_all(
    runs: Sequence[set[tuple[str, str]]], limit: int, cut: int | None
) -> None:
    numbers = [RunNumber(n, n) for n in range(len(runs))]
    wanted = sorted(set().union(*runs))
    seen: list[tuple[str, str]] = []
    after: tuple[Any, ...] | None = None
    while True:
        outcomes = [
            cut_off(
                [
                    Outcome(*test, "passed", 1, flaky=False, duration_seconds=None, updated_at=TIME)
                    for test in sorted(run)
                    if after is None or test > after
                ][: limit + 1],
                cut,
            )
            for run in runs
        ]
        page = merge(numbers, outcomes, limit, with_results=True)
        for item in page.items:
            test = (item.test_type, item.test_name)
            assert [r.agent_run_id for r in item.results or ()] == [
                n for n, run in enumerate(runs) if test in run
            ]
            seen.append(test)
        if page.next_position is None:
            break
        after = page.next_position
        assert len(page.items) == limit or (0 < len(page.items) < limit and cut is not None)
    assert seen == wanted


def cut_off(outcomes: list[Outcome], cut: int | None) -> Page[Outcome]:
    """A page with room for `cut` results."""
    if cut is None or len(outcomes) <= cut:
        return Page(outcomes, None)
    return Page(outcomes[:cut], outcomes[cut - 1][:2])
