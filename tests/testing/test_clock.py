"""The clock that tests move."""

from datetime import UTC, datetime, timedelta

import httpx

from tests.support.clients import bearer
from tests.testing.conftest import ForTests, project

NEAR = timedelta(minutes=1)


def read(text: str) -> datetime:
    """A time of an answer."""
    return datetime.fromisoformat(text)


def test_it_is_moved_set_and_reset(for_tests: ForTests, admin: httpx.Client) -> None:
    moved = for_tests.change("clock", move_seconds=3600.5)
    assert abs(read(moved["now"]) - datetime.now(UTC) - timedelta(hours=1)) < NEAR
    assert moved["moved_seconds"] == 3600.5
    assert for_tests.change("clock", move_seconds=-600)["moved_seconds"] == 3000.5
    at = datetime(2040, 2, 29, 12, tzinfo=UTC)
    was_set = for_tests.change("clock", at=at.isoformat())
    assert timedelta() <= read(was_set["now"]) - at < NEAR
    created = read(project(admin).json()["created_at"])
    assert timedelta() <= created - at < NEAR
    assert for_tests.change("clock", reset=True)["moved_seconds"] == 0


def test_a_lease_runs_out(for_tests: ForTests, admin: httpx.Client) -> None:
    assert project(admin).status_code == 201
    body = {"run_type": "plan", "target_text": "t"}
    assert admin.post("/api/projects/1/agent-runs", json=body).status_code == 201
    for status in ("pending", "failed"):
        claim = {"worker": "w", "lease_seconds": 600}
        claimed = admin.post("/api/agent-runs/claim", json=claim).json()
        for_tests.change("clock", move_seconds=599)
        lease = {"lease_token": claimed["lease_token"]}
        beat = admin.post(f"/api/agent-runs/{claimed['id']}/heartbeat", json=lease)
        assert beat.status_code == 200, beat.text
        for_tests.change("clock", move_seconds=601)
        assert admin.get(f"/api/agent-runs/{claimed['id']}").json()["status"] == status
        beat = admin.post(f"/api/agent-runs/{claimed['id']}/heartbeat", json=lease)
        assert beat.json()["code"] == "lease_lost"


def test_a_token_expires_and_its_stream_ends(for_tests: ForTests, admin: httpx.Client) -> None:
    body = {"name": "t", "scopes": ["projects:read"], "expires_in": "1h"}
    token = bearer(admin.post("/api/tokens", json=body).json()["token"])
    stream = {**token, "Accept": "text/event-stream"}
    with admin.stream("GET", "/api/events", headers=stream) as events:
        lines = events.iter_lines()
        assert next(lines) == "event: ready"
        for_tests.change("clock", move_seconds=3500)
        with for_tests.server.client() as client:
            assert client.get("/api/projects", headers=token).status_code == 200
        for_tests.change("clock", move_seconds=200)
        assert list(lines)
    assert admin.get("/api/projects", headers=token).status_code == 401
    for_tests.change("clock", reset=True)
    assert admin.get("/api/projects", headers=token).status_code == 200


def test_a_stored_answer_is_forgotten_after_a_day(for_tests: ForTests, admin: httpx.Client) -> None:
    key = {"Idempotency-Key": "k"}
    assert project(admin, headers=key).status_code == 201
    for_tests.change("clock", move_seconds=23 * 3600)
    assert project(admin, headers=key).headers["Idempotency-Replayed"] == "true"
    for_tests.change("clock", move_seconds=2 * 3600)
    assert project(admin, headers=key).json()["code"] == "project_exists"


def test_what_is_kept_no_longer_is_gone_when_the_call_returns(
    for_tests: ForTests, admin: httpx.Client
) -> None:
    log = {"level": "INFO", "message": "m", "component": "c"}
    assert admin.post("/api/logs", json=log).status_code == 201
    for_tests.change("clock", move_seconds=29 * 86_400)
    assert len(admin.get("/api/logs").json()["logs"]) == 1
    for_tests.change("clock", move_seconds=2 * 86_400)
    assert admin.get("/api/logs").json()["logs"] == []
