"""Attempts of a test in a run: which one a result belongs to, and which tests are flaky."""

from collections.abc import Sequence
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.repositories.test_attempt_repository import (
    Content,
    ResultKey,
    StoredAttempt,
    UploadedResult,
)
from backend.services.runs.attempts import apply
from tests.results.support import Json, listed, make_run, results, upload
from tests.support.http import make_project


async def attempts_of(client: httpx.AsyncClient, run_id: int) -> list[tuple[Any, ...]]:
    """All attempts of a run, oldest first, as name, number, status and whether they are flaky."""
    found = (await listed(client, run_id, attempts="all", limit=500))["test_results"]
    assert [item["id"] for item in found] == sorted({item["id"] for item in found}, reverse=True)
    return [(r["test_name"], r["attempt"], r["status"], r["flaky"]) for r in reversed(found)]


async def last_of(client: httpx.AsyncClient, run_id: int) -> list[tuple[Any, ...]]:
    found = (await listed(client, run_id, limit=500))["test_results"]
    return [(r["test_name"], r["attempt"], r["status"], r["flaky"]) for r in reversed(found)]


async def send(client: httpx.AsyncClient, run_id: int, *tests: str, **fields: Any) -> list[int]:
    """Upload results. Returns how many were created, updated and unchanged."""
    return list((await upload(client, run_id, results(*tests, **fields))).values())


async def test_a_test_that_passes_only_after_a_failure_is_flaky(
    client: httpx.AsyncClient, run_id: int
) -> None:
    assert await send(client, run_id, "unit/a/failed", "unit/b/passed") == [2, 0, 0]
    assert await send(client, run_id, "unit/a/passed", "unit/b/passed") == [1, 0, 1]
    assert await last_of(client, run_id) == [("b", 1, "passed", False), ("a", 2, "passed", True)]
    assert await attempts_of(client, run_id) == [
        ("a", 1, "failed", False),
        ("b", 1, "passed", False),
        ("a", 2, "passed", True),
    ]
    assert (await listed(client, run_id))["summary"] == {"passed": 2, "flaky": 1}
    project = (await client.get(f"/api/agent-runs/{run_id}")).json()["project_id"]
    path = f"/api/projects/{project}/test-history"
    tests = (await client.get(path)).json()["tests"]
    assert [(t["test_name"], t["passed"], t["failed"], t["flaky"]) for t in tests] == [
        ("a", 1, 0, 1),
        ("b", 1, 0, 0),
    ]
    (test,) = (await client.get(path, params={"test_name": "a"})).json()["tests"]
    (result,) = test["results"]
    assert (result["attempt"], result["status"], result["flaky"]) == (2, "passed", True)


@pytest.mark.parametrize(
    ("statuses", "flaky"),
    [
        (["passed"], False),
        (["failed"], False),
        (["failed", "passed"], True),
        (["error", "passed"], True),
        (["passed", "failed"], False),
        (["passed", "failed", "passed"], True),
        (["failed", "passed", "failed"], False),
        (["failed", "skipped", "passed"], True),
        (["skipped", "passed"], False),
        (["failed", "skipped"], False),
        (["failed", "running"], False),
        (["failed", "pending", "running", "passed"], True),
    ],
)
async def test_the_last_attempt_counts(
    client: httpx.AsyncClient, run_id: int, statuses: list[str], flaky: bool
) -> None:
    for status in statuses:
        await send(client, run_id, f"unit/a/{status}")
    (test,) = await last_of(client, run_id)
    unfinished = sum(status in ("pending", "running") for status in statuses[:-1])
    assert test == ("a", len(statuses) - unfinished, statuses[-1], flaky)
    summary = (await listed(client, run_id))["summary"]
    assert summary == {statuses[-1]: 1, "flaky": flaky}
    # The same in one upload.
    other = (await make_run(client))["id"]
    await send(client, other, *(f"unit/a/{status}" for status in statuses))
    assert await last_of(client, other) == [test]
    assert (await listed(client, other))["summary"] == summary


@pytest.mark.parametrize("unfinished", ["pending", "running"])
async def test_a_result_completes_an_unfinished_attempt(
    client: httpx.AsyncClient, run_id: int, unfinished: str
) -> None:
    first = await upload(client, run_id, {"test_type": "u", "test_name": "a", "status": unfinished})
    assert await send(client, run_id, f"u/a/{unfinished}") == [0, 0, 1]
    assert await send(client, run_id, "u/a/failed") == [0, 1, 0]
    (stored,) = (await listed(client, run_id, attempts="all"))["test_results"]
    assert (stored["id"], stored["created_at"]) == (first["id"], first["created_at"])
    assert (stored["attempt"], stored["status"]) == (1, "failed")
    assert await send(client, run_id, f"u/a/{unfinished}") == [1, 0, 0]
    assert await send(client, run_id, "u/a/passed") == [0, 1, 0]
    assert await attempts_of(client, run_id) == [
        ("a", 1, "failed", False),
        ("a", 2, "passed", True),
    ]


async def test_a_client_may_number_its_attempts(client: httpx.AsyncClient, run_id: int) -> None:
    body = {"test_type": "u", "test_name": "a", "status": "passed"}
    made = await upload(client, run_id, {**body, "attempt": 3})
    assert (made["attempt"], made["flaky"]) == (3, False)
    # An earlier one that comes later makes the test flaky.
    earlier = await upload(client, run_id, {**body, "attempt": 1, "status": "error"})
    assert (earlier["attempt"], earlier["status"], earlier["flaky"]) == (1, "error", False)
    assert await last_of(client, run_id) == [("a", 3, "passed", True)]
    assert await upload(client, run_id, {**body, "attempt": 1, "status": "error"}) == earlier
    # What is stored of an attempt can be corrected.
    corrected = await upload(client, run_id, {**body, "attempt": 1})
    assert corrected == {**earlier, "status": "passed", "updated_at": corrected["updated_at"]}
    assert await last_of(client, run_id) == [("a", 3, "passed", False)]
    await upload(client, run_id, {**body, "status": "failed"})
    assert await attempts_of(client, run_id) == [
        ("a", 3, "passed", False),
        ("a", 1, "passed", False),
        ("a", 4, "failed", False),
    ]
    await upload(client, run_id, {**body, "attempt": 4, "status": "passed"})
    assert (await listed(client, run_id))["summary"] == {"passed": 1, "flaky": 0}


async def test_all_attempts_can_be_sent_to_another_run(
    client: httpx.AsyncClient, run_id: int
) -> None:
    await send(client, run_id, "u/a/failed", "u/b/error", "u/a/passed", "u/b/passed", "u/c/running")
    page = await listed(client, run_id, attempts="all")
    other = (await make_run(client))["id"]
    assert await upload(client, other, page) == {"created": 5, "updated": 0, "unchanged": 0}
    assert await upload(client, other, page) == {"created": 0, "updated": 0, "unchanged": 5}
    assert sorted(await last_of(client, other)) == sorted(await last_of(client, run_id))
    assert sorted(await attempts_of(client, other)) == sorted(await attempts_of(client, run_id))


async def test_long_texts_are_compared_in_full(client: httpx.AsyncClient, run_id: int) -> None:
    data, another = {"a": [1, 2]}, {"a": [1, 3]}
    texts = [
        "é" * (length - 1) + last for length in (999, 1000, 1001, 200_000) for last in ("é", "e")
    ]
    variants: list[dict[str, Any]] = [
        *({"error_message": text} for text in texts),
        *({"error_message": text, "result_data": data} for text in texts),
        {"result_data": data},
        {"result_data": another},
    ]
    for fields in variants:
        assert await send(client, run_id, "u/a/failed", **fields) == [1, 0, 0]
        assert await send(client, run_id, "u/a/failed", **fields) == [0, 0, 1]
    assert len(await attempts_of(client, run_id)) == 2 * len(texts) + 2


async def test_results_do_not_change_the_version_of_their_run(client: httpx.AsyncClient) -> None:
    run = await make_run(client)
    path = f"/api/agent-runs/{run['id']}"
    before = await client.get(path)
    await send(client, run["id"], "u/a/failed", "u/a/passed")
    after = await client.get(path)
    assert after.headers["etag"] == before.headers["etag"] == f'"v{run["version"]}"'
    assert after.json() == before.json()
    # The list's own tag changes with its content.
    first = await client.get(f"{path}/test-results")
    await send(client, run["id"], "u/a/passed")
    tags = {"If-None-Match": first.headers["etag"]}
    assert (await client.get(f"{path}/test-results", headers=tags)).status_code == 304
    await send(client, run["id"], "u/a/skipped")
    assert (await client.get(f"{path}/test-results", headers=tags)).status_code == 200


async def test_pages_and_filters_of_all_attempts(client: httpx.AsyncClient, run_id: int) -> None:
    for status in ("failed", "error", "passed"):
        await send(client, run_id, *(f"{kind}/{kind}/{status}" for kind in ("u", "v")))
        await send(client, run_id, f"u/w/{status}")
    whole = (await listed(client, run_id, attempts="all", limit=500))["test_results"]
    assert len(whole) == 9
    for params in ({}, {"status": "failed"}, {"test_type": "u"}, {"test_type": "v"}):
        found: list[Json] = []
        cursor: dict[str, str] = {}
        while True:
            page = await listed(client, run_id, attempts="all", limit=2, **params, **cursor)
            assert page["summary"] == {"passed": 3, "flaky": 3}
            found += page["test_results"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert found == [r for r in whole if all(r[k] == v for k, v in params.items())]
    # The filters of a list of last attempts do not find earlier ones.
    assert (await listed(client, run_id, status="failed"))["test_results"] == []


async def test_a_history_tells_in_how_many_runs_a_test_was_flaky(
    client: httpx.AsyncClient,
) -> None:
    project = (await make_project(client))["id"]
    for statuses in (["failed", "passed"], ["passed"], ["error", "passed"], ["failed"]):
        run = await make_run(client, project)
        await send(client, run["id"], *(f"unit/a/{status}" for status in statuses))
    answer = await client.get(f"/api/projects/{project}/test-history?test_name=a")
    (test,) = answer.json()["tests"]
    assert (test["passed"], test["failed"], test["flaky"], test["flips"]) == (3, 1, 2, 1)
    assert [(r["attempt"], r["flaky"]) for r in test["results"]] == [
        (1, False),
        (2, True),
        (1, False),
        (2, True),
    ]


# The rule itself, against a model that keeps every attempt

STATUSES = ("pending", "running", "passed", "failed", "skipped", "error")
NAMED = st.builds(
    lambda name, number, status, message: UploadedResult(
        ResultKey("t", name), number, Content(status, None, None, message, None, None)
    ),
    st.sampled_from("ab"),
    st.none() | st.integers(1, 4),
    st.sampled_from(STATUSES),
    st.none() | st.sampled_from(("x", "y")),
)
Model = dict[ResultKey, dict[int, Content]]


def model_upload(
    model: Model, uploads: Sequence[UploadedResult], *, each_is_an_attempt: bool = False
) -> list[int]:
    created = updated = unchanged = 0
    seen: set[ResultKey] = set()
    for test, given_number, content in uploads:
        attempts = model.setdefault(test, {})
        last = max(attempts, default=0)
        number = given_number
        if number is None:
            begins = not last or (
                attempts[last].status not in ("pending", "running") and attempts[last] != content
            )
            follows = each_is_an_attempt and test in seen
            number = last + 1 if begins or follows else last
        seen.add(test)
        if attempts.get(number) == content:
            unchanged += 1
        elif number in attempts:
            updated += 1
        else:
            created += 1
        attempts[number] = content
    return [created, updated, unchanged]


@settings(max_examples=300)
@given(st.lists(st.tuples(st.booleans(), st.lists(NAMED, max_size=6)), max_size=5))
def test_any_uploads_do_what_the_model_does(
    batches: list[tuple[bool, list[UploadedResult]]],
) -> None:
    model: Model = {}
    found: Model = {}
    for each, uploads in batches:
        stored = {
            test: [
                StoredAttempt(number, number == max(attempts), content.status, content)
                for number, content in attempts.items()
            ]
            for test, attempts in found.items()
        }
        changes, counts = apply(uploads, stored, each_is_an_attempt=each)
        expected = model_upload(model, uploads, each_is_an_attempt=each)
        assert list(counts.model_dump().values()) == expected
        for place, content in changes.inserted.items():
            assert place.attempt not in found.setdefault(place.test, {})
            found[place.test][place.attempt] = content
        for place, (content, was_last) in changes.replaced.items():
            attempts = {a.attempt: a for a in stored[place.test]}
            assert attempts[place.attempt].is_last is was_last
            found[place.test][place.attempt] = content
        assert found == model
        for test, (last, _) in changes.settled.items():
            assert last == max(model[test])


def random_uploads(seed: int) -> list[list[UploadedResult]]:
    random = Random(seed)  # noqa: S311 - which uploads are tried is no secret
    return [
        [
            UploadedResult(
                ResultKey("t", random.choice("ab")),
                random.choice((None, None, None, 1, 2, 3, 5)),
                Content(
                    random.choice(STATUSES), None, None, random.choice((None, "x")), None, None
                ),
            )
            for _ in range(random.randint(0, 6))
        ]
        for _ in range(random.randint(1, 5))
    ]


async def test_any_uploads_are_stored_as_the_model_says(client: httpx.AsyncClient) -> None:
    for seed in range(30):
        drawn = random_uploads(seed)
        run_id = (await make_run(client))["id"]
        model: Model = {}
        for uploads in drawn:
            body = [
                {
                    "test_type": test.test_type,
                    "test_name": test.test_name,
                    "status": content.status,
                    "error_message": content.error_message,
                    **({"attempt": attempt} if attempt is not None else {}),
                }
                for test, attempt, content in uploads
            ]
            answer = await upload(client, run_id, {"test_results": body})
            assert list(answer.values()) == model_upload(model, uploads), seed
        expected = []
        for test, attempts in model.items():
            last = max(attempts)
            failed = any(
                content.status in ("failed", "error")
                for attempt, content in attempts.items()
                if attempt < last
            )
            expected += [
                (
                    test.test_name,
                    attempt,
                    content.status,
                    attempt == last and failed and content.status == "passed",
                )
                for attempt, content in attempts.items()
            ]
        assert sorted(await attempts_of(client, run_id)) == sorted(expected)
        flaky = sum(item[3] for item in expected)
        assert (await listed(client, run_id))["summary"]["flaky"] == flaky
