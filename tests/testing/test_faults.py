"""Faults that tests ask for, and how they look to a client."""

import time

import httpx
import pytest

from tests.support.servers import RunningServer
from tests.testing.conftest import ForTests, project

NO_FAULTS = {"fail_next_commits": 0, "disk_full": False, "lose_next_answers": 0, "slow_ms": 0}


def count(client: httpx.Client) -> int:
    """The number of projects."""
    return len(client.get("/api/projects").json()["projects"])


def test_the_next_commits_fail_without_effect(for_tests: ForTests, admin: httpx.Client) -> None:
    for_tests.change("faults", fail_next_commits=2)
    for left in (1, 0):
        answer = project(admin)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_busy")
        assert answer.headers["Retry-After"] == "1"
        assert for_tests.change("faults")["fail_next_commits"] == left
    assert count(admin) == 0
    assert project(admin).json()["id"] == 1


def test_only_commits_for_requests_that_change_something_are_counted(
    for_tests: ForTests, admin: httpx.Client
) -> None:
    assert project(admin).status_code == 201
    for_tests.change("faults", fail_next_commits=1)
    assert admin.get("/ready").status_code == 200
    assert project(admin).json()["code"] == "project_exists"
    server: RunningServer = for_tests.server
    service = server.app.state.service
    server.submit(service.tokens.store_uses()).result()
    for_tests.change("clock", move_seconds=1)
    assert for_tests.change("faults")["fail_next_commits"] == 1
    assert project(admin, "other").status_code == 503


def test_a_failed_commit_fails_for_an_idempotency_key_too(
    for_tests: ForTests, admin: httpx.Client
) -> None:
    for_tests.change("faults", fail_next_commits=1)
    key = {"Idempotency-Key": "once"}
    answers = [project(admin, headers=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 201, 201]
    assert "Idempotency-Replayed" not in answers[1].headers
    assert answers[2].headers["Idempotency-Replayed"] == "true"
    assert count(admin) == 1


def test_a_full_disk_refuses_changes_until_there_is_room(
    for_tests: ForTests, admin: httpx.Client
) -> None:
    assert project(admin).status_code == 201
    for_tests.change("faults", disk_full=True)
    for repo in ("a", "b"):
        answer = project(admin, repo)
        assert (answer.status_code, answer.json()["code"]) == (507, "database_full")
    assert count(admin) == 1
    assert admin.get("/ready").status_code == 503
    for_tests.change("clock", move_seconds=5)
    for_tests.change("faults", disk_full=False)
    assert project(admin, "a").status_code == 201
    assert admin.get("/ready").status_code == 200


def test_an_answer_gets_lost_after_its_effect(for_tests: ForTests, admin: httpx.Client) -> None:
    for_tests.change("faults", lose_next_answers=2)
    key = {"Idempotency-Key": "once"}
    with pytest.raises(httpx.TransportError):
        project(admin, headers=key)
    with pytest.raises(httpx.TransportError):
        admin.get("/api/projects")
    again = project(admin, headers=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert count(admin) == 1


@pytest.mark.parametrize("path", ["/health", "/api/events", "/api/nothing"])
def test_every_answer_may_get_lost(for_tests: ForTests, admin: httpx.Client, path: str) -> None:
    for_tests.change("faults", lose_next_answers=1)
    with pytest.raises(httpx.TransportError):
        admin.get(path, headers={"Accept": "text/event-stream"})
    assert for_tests.change("faults") == NO_FAULTS


def test_requests_are_slow(for_tests: ForTests, admin: httpx.Client) -> None:
    for_tests.change("faults", slow_ms=60)
    began = time.monotonic()
    assert count(admin) == 0
    assert time.monotonic() - began >= 0.06
    assert for_tests.change("faults", slow_ms=0) == NO_FAULTS


def test_fields_that_are_left_out_stay(for_tests: ForTests, admin: httpx.Client) -> None:  # noqa: ARG001
    for_tests.change("faults", fail_next_commits=3, disk_full=True)
    state = for_tests.change("faults", slow_ms=1, disk_full=None)
    assert state == {**NO_FAULTS, "fail_next_commits": 3, "disk_full": True, "slow_ms": 1}
    for_tests.reset()
    assert for_tests.change("faults") == NO_FAULTS
