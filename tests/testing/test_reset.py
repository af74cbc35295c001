"""Nothing of before shows in an emptied store."""

import asyncio
import contextlib
import dataclasses
import sqlite3
from typing import Any

import httpx
import pytest

from backend.http.state import AppState, state_of
from tests.support.clients import bearer
from tests.support.servers import PATIENCE
from tests.testing.conftest import ForTests, project

KEPT_PARTS = {
    *("settings", "auth_required", "max_body_bytes", "has_open_metrics"),
    *("own_origin", "cookies", "cross_origin"),
}
"""Parts of an application's state that depend on its settings alone."""
EMPTIED_PARTS = {"kept", "metrics"}
"""Parts that the server's other objects know, and that are therefore emptied instead."""


def rows(for_tests: ForTests) -> dict[str, int]:
    """The number of rows of each table."""
    path = for_tests.data_dir / "strongroom.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        names = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {
            name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608
            for (name,) in names
        }


def ids(for_tests: ForTests) -> dict[str, int]:
    """The last ids of tables with ids that are never given twice."""
    path = for_tests.data_dir / "strongroom.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return dict(database.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name"))


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    """The JSON of the answer to a request that succeeds."""
    answer = client.post(f"/api{path}", json=body)
    assert answer.is_success, answer.text
    return answer.json()


def fill(client: httpx.Client) -> None:
    """Store something of most kinds."""
    assert project(client, headers={"Idempotency-Key": "k"}).status_code == 201
    post(client, "/projects/1/secrets", key="API_KEY", value="an old value of before")
    client.put("/api/projects/1/secrets/API_KEY", json={"value": "another value of before"})
    client.patch("/api/projects/1/configuration", json={"repository_rules": "be kind"})
    post(client, "/projects/1/agent-runs", run_type="plan", target_text="a plan")
    run = post(client, "/agent-runs/claim", worker="w")
    post(client, f"/agent-runs/{run['id']}/pipeline-states", state="created")
    post(
        client,
        f"/agent-runs/{run['id']}/test-results",
        test_type="u",
        test_name="t",
        status="passed",
    )
    post(client, f"/agent-runs/{run['id']}/snapshots", snapshot_id="s")
    post(client, "/logs", level="INFO", message="a log", component="c", project_id=1)
    post(client, "/tokens", name="other", scopes=["projects:read"])
    post(client, "/backups")
    token = client.headers["Authorization"].removeprefix("Bearer ")
    assert client.post("/api/session", json={"token": token}).status_code == 204


def test_every_table_is_as_after_a_first_start(for_tests: ForTests, admin: httpx.Client) -> None:
    fresh, fresh_ids = rows(for_tests), ids(for_tests)
    fill(admin)
    filled = rows(for_tests)
    assert sum(filled[name] > count for name, count in fresh.items()) > 20
    assert (for_tests.data_dir / "backups").is_dir()
    token = for_tests.reset()
    assert rows(for_tests) == fresh
    assert ids(for_tests) == fresh_ids
    assert not (for_tests.data_dir / "backups").exists()
    assert (for_tests.data_dir / "admin.token").read_text(encoding="ascii").strip() == token
    assert token != admin.headers["Authorization"].removeprefix("Bearer ")
    with for_tests.server.client(token) as client:
        fill(client)
        assert client.get("/api/projects/1/secrets/API_KEY/value").json()["version"] == 2
        assert client.get("/ready").status_code == 200


def test_nothing_that_a_client_knows_works_any_more(
    for_tests: ForTests, admin: httpx.Client
) -> None:
    for repo in ("a", "b"):
        assert project(admin, repo, headers={"Idempotency-Key": repo}).status_code == 201
    cursor = admin.get("/api/projects", params={"limit": 1}).json()["next_cursor"]
    token = admin.headers["Authorization"].removeprefix("Bearer ")
    with for_tests.server.client() as browser:
        signed_in = browser.post("/api/session", json={"token": token})
        browser.headers["Cookie"] = signed_in.headers["Set-Cookie"].partition(";")[0]
        assert browser.get("/api/session").status_code == 200
        epoch = event_id(admin).partition("-")[0]
        # Its answer is kept.
        assert [admin.get("/api/projects/1").status_code for _ in range(3)] == [200] * 3
        new = for_tests.reset()
        assert admin.get("/api/projects/1").status_code == 401
        assert browser.get("/api/session").status_code == 401
    with for_tests.server.client(new) as client:
        assert client.get("/api/projects/1").status_code == 404
        answer = client.get("/api/projects", params={"limit": 1, "cursor": cursor})
        assert answer.json()["code"] == "bad_cursor"
        assert event_id(client).partition("-")[0] != epoch
        again = project(client, "b", headers={"Idempotency-Key": "b"})
        assert (again.status_code, again.json()["id"]) == (201, 1)
        assert "Idempotency-Replayed" not in again.headers
        kinds = [event["kind"] for event in client.get("/api/events").json()["events"]]
        assert kinds == ["token.created", "project.created", "settings.created"]
        assert len(client.get("/api/tokens").json()["tokens"]) == 1
        assert client.get("/api/audit").json()["entries"][-1]["id"] == 1
        assert client.get("/api/projects", params={"q": "a"}).json()["projects"] == [
            client.get("/api/projects/1").json()
        ]


def event_id(client: httpx.Client) -> str:
    """The id of the oldest event."""
    headers = {"Accept": "text/event-stream"}
    with client.stream("GET", "/api/events", params={"after": 0}, headers=headers) as events:
        for line in events.iter_lines():
            if line.startswith("id: "):
                return line.removeprefix("id: ")
    raise AssertionError("the stream ended")


def test_streams_and_waits_end(for_tests: ForTests, admin: httpx.Client) -> None:
    assert project(admin).status_code == 201

    async def run() -> None:
        token = admin.headers["Authorization"].removeprefix("Bearer ")
        state = state_of(for_tests.server.app)
        waits = state.waits
        async with (
            asyncio.timeout(PATIENCE),
            for_tests.server.async_client(token) as client,
            client.stream("GET", "/api/events", headers={"Accept": "text/event-stream"}) as events,
        ):
            lines = events.aiter_lines()
            assert await anext(lines) == "event: ready"
            etag = (await client.get("/api/projects/1")).headers["ETag"]
            waiting = asyncio.create_task(
                client.get("/api/projects/1", headers={"If-None-Match": etag, "Prefer": "wait=60"})
            )
            claiming = asyncio.create_task(
                client.post(
                    "/api/agent-runs/claim", json={"worker": "w"}, headers={"Prefer": "wait=60"}
                )
            )
            while waits.open() != {"reads": 1, "claims": 1}:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(for_tests.reset)
            assert (await waiting).status_code in (304, 401)
            assert (await claiming).status_code in (204, 401)
            assert any(line.startswith("retry:") for line in [line async for line in lines])

    asyncio.run(run())


def test_streams_and_waits_work_afterwards(for_tests: ForTests, admin: httpx.Client) -> None:
    project(admin)
    headers = {"Accept": "text/event-stream"}
    for number in range(2):
        with (
            for_tests.server.client(for_tests.reset()) as client,
            client.stream("GET", "/api/events", headers=headers) as events,
        ):
            lines = events.iter_lines()
            assert next(lines) == "event: ready"
            assert project(client, f"repo-{number}").json()["id"] == 1
            assert any('"project.created"' in line for line in lines if line.startswith("data"))


def test_what_is_on_its_way_has_no_effect_in_the_next_store(for_tests: ForTests) -> None:
    async def run(resets: int) -> None:
        token = for_tests.reset()
        generation = 0
        done = False
        statuses: set[int] = set()

        async def write(client: httpx.AsyncClient, number: int) -> None:
            turn = 0
            while not done:
                turn += 1
                name = f"{generation}-{number}-{turn}"
                body = {"name": name, "github_owner": "o", "github_repo": name}
                headers = bearer(token)
                if turn % 3 == 0:
                    headers["Idempotency-Key"] = f"{number}-{turn}"
                answer = await client.post("/api/projects", json=body, headers=headers)
                statuses.add(answer.status_code)
                answer = await client.get("/api/projects?limit=500", headers=headers)
                statuses.add(answer.status_code)
                if answer.status_code == 200:
                    seen = {one["name"].partition("-")[0] for one in answer.json()["projects"]}
                    # The name was chosen before the request, and one reset may lie between.
                    assert seen <= {name.partition("-")[0]}, (seen, name)

        async with for_tests.server.async_client() as client, asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(write(client, number))
            for _ in range(resets):
                await asyncio.sleep(0.03)
                next_token = await asyncio.to_thread(for_tests.reset)
                # Together, so that a name tells the store that its request was meant for.
                generation, token = generation + 1, next_token
            await asyncio.sleep(0.03)
            done = True
        assert statuses == {200, 201, 401}

    asyncio.run(run(8))


def test_many_resets_at_once_leave_one_store(for_tests: ForTests) -> None:
    async def run() -> None:
        async with for_tests.server.async_client(for_tests.token) as client:
            answers = await asyncio.gather(*(client.post("/testing/reset") for _ in range(5)))
        tokens = [answer.json()["token"] for answer in answers]
        async with for_tests.server.async_client() as client:
            got = [await client.get("/api/me", headers=bearer(token)) for token in tokens]
        assert sorted(answer.status_code for answer in got) == [200, 401, 401, 401, 401]

    asyncio.run(run())


def test_a_reset_goes_on_without_its_client(for_tests: ForTests, admin: httpx.Client) -> None:
    async def run() -> None:
        async with for_tests.server.async_client(for_tests.token) as client:
            with contextlib.suppress(httpx.TimeoutException):
                await client.post("/testing/reset", timeout=0.001)

    asyncio.run(run())
    with for_tests.server.client(for_tests.reset()) as client:
        assert project(client).json()["id"] == 1
    assert admin.get("/api/me").status_code == 401


@pytest.fixture
def state(for_tests: ForTests) -> AppState:
    """The state of the server's application."""
    return state_of(for_tests.server.app)


def test_every_part_of_the_application_is_another_one(
    for_tests: ForTests, admin: httpx.Client, state: AppState
) -> None:
    assert admin.get("/api/me").status_code == 200
    parts = {field.name for field in dataclasses.fields(state)} - KEPT_PARTS - EMPTIED_PARTS
    before = {name: getattr(state, name) for name in parts}
    queues, limits = dict(state.queues), (state.streams.limit, state.waits._limit)
    for_tests.reset()
    assert {name for name in parts if getattr(state, name) is before[name]} == set()
    assert not [kind for kind, queue in state.queues.items() if queue is queues[kind]]
    assert (state.streams.limit, state.waits._limit) == limits


def test_repeated_resets_leave_nothing_behind(for_tests: ForTests, state: AppState) -> None:
    for_tests.reset()
    versions = state.installation.manager.async_pool.table_versions
    counted = len(versions._all)
    for _ in range(3):
        for_tests.reset()
    assert len(versions._all) == counted


def test_a_reset_that_fails_can_be_repeated(for_tests: ForTests, admin: httpx.Client) -> None:
    file = for_tests.data_dir / "admin.token"
    file.unlink()
    file.mkdir()
    answer = for_tests.call("reset")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert admin.get("/api/me").status_code == 401
    file.rmdir()
    with for_tests.server.client(for_tests.reset()) as client:
        assert project(client).json()["id"] == 1
