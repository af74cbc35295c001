"""Kept answers are never older than the last commit, and a request that gets one counts like any
other."""

import asyncio
import itertools
import json
import sqlite3
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.http.kept_answers import MAX_ANSWERS, MAX_BYTES, KeptAnswer, KeptAnswers, Offer
from backend.http.route_policy import OPEN, Queue, RoutePolicy, Shown, reads
from backend.http.state import state_of
from backend.main import create_app
from backend.routes import POLICIES
from backend.services.shown import ENDED_BY, counted
from config.settings import Settings
from database.sqlite.table_versions import TableVersions
from models import Scope
from tests.support.asgi import Head, exchanged
from tests.support.clients import bearer, client_of, new_token, token_of_first_start
from tests.support.clocks import SetClock
from tests.support.http import make_project, manager_of, service_of
from tests.support.resources import Resources
from tests.support.routes import Call, calls

PROJECT = "/api/projects/1"
GUARDS = {"audit_entries", "guarded_targets"}
"""Their entries tell whether a row was changed outside the service. They change with the row."""


def offer(version: int | None) -> Offer:
    assert version is not None
    return Offer(Shown.PROJECT, version, ("projects:read",), PROJECT, None)


class Kept:
    """Kept answers over versions that the test steps."""

    def __init__(self) -> None:
        self.versions = TableVersions()
        self.answers = KeptAnswers(POLICIES)
        self.answers.start(counted(self.versions))

    def keep(self, path: str, body: bytes = b"{}", *, version: int | None = None) -> None:
        """Keep an answer that was made at this version, or now."""
        answer = KeptAnswer(("projects:read",), PROJECT, [], [], body)
        now = self.answers.version(Shown.PROJECT) if version is None else version
        self.answers.keep(Head(path).scope(), (None, False), offer(now), answer)

    def has(self, path: str) -> bool:
        return self.answers.find(path.encode(), asyncio.get_running_loop()) is not None


async def test_an_answer_is_kept_until_something_changes() -> None:
    kept = Kept()
    kept.keep("/1")
    assert kept.has("/1")
    assert not kept.has("/2")
    with kept.versions.anything():
        assert not kept.has("/1")
        assert kept.answers.version(Shown.PROJECT) is None
    assert not kept.has("/1")


async def test_what_changed_while_it_was_made_is_not_kept() -> None:
    kept = Kept()
    before = kept.answers.version(Shown.PROJECT)
    with ExitStack() as commit:
        commit.enter_context(kept.versions.anything())
        kept.keep("/1", version=before)
        assert not kept.has("/1")
    kept.keep("/1", version=before)
    assert not kept.has("/1")
    kept.keep("/1")
    assert kept.has("/1")


async def test_memory_is_bounded() -> None:
    kept = Kept()
    size = MAX_BYTES // 16
    for number in range(20):
        kept.keep(f"/{number}", b"x" * size)
    assert [number for number in range(20) if kept.has(f"/{number}")] == list(range(4, 20))
    kept.keep("/large", b"x" * (size + 1))
    assert not kept.has("/large")


async def test_many_small_answers_are_bounded_in_number() -> None:
    kept = Kept()
    for number in range(MAX_ANSWERS + 10):
        kept.keep(f"/{number}")
    assert len(kept.answers) == MAX_ANSWERS
    assert not kept.has("/9")
    assert kept.has("/10")


async def test_nothing_is_kept_on_another_loop_and_after_the_end() -> None:
    kept = Kept()
    kept.keep("/1")
    assert not await asyncio.to_thread(asyncio.run, _has(kept))
    kept.answers.stop()
    assert not kept.has("/1")
    kept.keep("/1", version=0)
    assert not kept.has("/1")


async def _has(kept: Kept) -> bool:
    return kept.has("/1")


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": OPEN, "queue": None},
        {"scope": Scope.PROJECTS_READ, "queue": Queue.WRITING},
        {"scope": Scope.PROJECTS_READ, "queue": Queue.READING, "is_streamed": True},
    ],
)
def test_only_routes_that_read_with_a_token_keep_answers(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kept"):
        RoutePolicy(shows=Shown.PROJECT, **fields)
    assert reads(Scope.PROJECTS_READ, shows=Shown.PROJECT).shows is Shown.PROJECT


@pytest.fixture
async def application(settings: Settings) -> Any:
    """An application that keeps answers, however the tests are run."""
    app = create_app(settings, direct=True)
    async with app.router.lifespan_context(app):
        yield app


def kept_calls(app: FastAPI) -> list[tuple[Call, str, Shown]]:
    """The routes whose answers are kept, with each query that makes them show something else."""
    found = []
    for call in calls(app):
        policy = POLICIES[call.method, call.template]
        if policy.shows is not None:
            found.append((call, "", policy.shows))
        found += [(call, f"?include={n}", one.shows) for n, one in policy.includes.items()]
    return found


async def test_a_kept_answer_ends_with_each_table_that_it_was_read_from(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    # Its reads would be noted too.
    await state_of(application).installation.background.stop()
    resources, pool = Resources(client), manager_of(application).async_pool
    read: set[str] = set()

    def note(action: int, table: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ and table is not None:
            read.add(table)
        return sqlite3.SQLITE_OK

    # What the indexing reads in the background.
    others = {"project_index_state", "run_index_state", "run_index_removals", "agent_runs"}
    for call, query, shows in kept_calls(application):
        path = await resources.path(call) + query
        read.clear()
        # All statements are compiled again under an authorizer.
        await pool.run_read(lambda connection: connection.set_authorizer(note))
        assert (await client.get(path)).status_code == 200
        await pool.run_read(lambda connection: connection.set_authorizer(None))
        ending = {table for table, _ in ENDED_BY[shows]}
        assert {"projects"} <= ending
        assert read - GUARDS - others, call
        assert read - GUARDS - others <= ending, call


async def answered(app: FastAPI) -> int:
    """How many requests have got a kept answer."""
    kept_path = getattr(app.middleware_stack, "kept_path", None)
    assert kept_path is not None
    return int(kept_path.answered)


async def test_every_kept_answer_is_sent_again_until_a_change(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    resources = Resources(client)
    for call, query, _ in kept_calls(application):
        path = await resources.path(call) + query
        first = await client.get(path)
        before = await answered(application)
        assert (await client.get(path)).content == first.content
        assert await answered(application) == before + 1, call
        project_id = await resources.get("project_id")
        await client.patch(
            f"/api/projects/{project_id}", json={"name": f"{query}After {call}"[:80]}
        )
        await client.get(path)
        assert await answered(application) == before + 1, call


async def test_no_reader_sees_less_than_what_was_acknowledged(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_project(client, name="0")
    acknowledged, writing = 0, True

    async def write() -> None:
        nonlocal acknowledged, writing
        for number in itertools.count(1):
            await client.patch(PROJECT, json={"name": str(number)})
            acknowledged = number
            if number == 100:
                writing = False
                return

    async def read(path: str) -> None:
        last = 0
        while writing:
            known = acknowledged
            document = (await client.get(path)).json()
            project = document["projects"][0] if "projects" in document else document
            assert int(project["name"]) >= max(known, last)
            last = int(project["name"])

    paths = [PROJECT, "/api/projects"] * 6
    await asyncio.gather(write(), *(read(path) for path in paths))
    assert await answered(application)


async def test_a_kept_answer_is_only_for_those_who_may_see_it(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_project(client)
    await make_project(client)
    for _ in range(2):
        assert len((await client.get("/api/projects")).json()["projects"]) == 2
        assert (await client.get("/api/projects/2")).status_code == 200
    token = await new_token(client, "projects:read", project_ids=[1])
    async with client_of(application, token) as bound:
        for _ in range(2):
            listed = (await bound.get("/api/projects")).json()["projects"]
            assert [project["id"] for project in listed] == [1]
            assert (await bound.get("/api/projects/2")).status_code == 404
    async with client_of(application, await new_token(client, "runs:read")) as other:
        assert (await other.get("/api/projects/2")).status_code == 403


async def test_a_token_that_ended_gets_no_kept_answer(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_project(client)
    service_of(application).clock = clock = SetClock()
    body = {"name": "t", "scopes": ["projects:read"], "expires_in": "1d"}
    ending = (await client.post("/api/tokens", json=body)).json()
    revoked = (await client.post("/api/tokens", json=body)).json()
    for token in (ending, revoked):
        for _ in range(2):
            answer = await client.get(PROJECT, headers=bearer(token["token"]))
            assert answer.status_code == 200
    await client.delete(f"/api/tokens/{revoked['id']}")
    assert (await client.get(PROJECT, headers=bearer(revoked["token"]))).status_code == 401
    assert (await client.get(PROJECT, headers=bearer(ending["token"]))).status_code == 200
    clock.advance(24 * 60 * 60)
    assert (await client.get(PROJECT, headers=bearer(ending["token"]))).status_code == 401


async def test_during_a_revocation_every_token_is_looked_up(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_project(client)
    for _ in range(2):
        await client.get(PROJECT)
    before = await answered(application)
    cache = service_of(application).tokens._cache
    cache.begin_revocation()
    assert (await client.get(PROJECT)).status_code == 200
    cache.end_revocation()
    assert await answered(application) == before


async def test_a_kept_answer_counts_as_a_use_and_as_a_request(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_project(client)
    service_of(application).clock = clock = SetClock()
    await client.get(PROJECT)
    clock.advance(5)
    before = await answered(application)
    await client.get(PROJECT)
    assert await answered(application) == before + 1
    assert (await client.get("/api/tokens/1")).json()["last_used_at"] == clock.text()
    metrics = (await client.get("/metrics")).text
    series = 'method="GET",route="/api/projects/{project_id}",status="200"'
    assert f"strongroom_request_duration_seconds_count{{{series}}} 2.0" in metrics


async def test_kept_answers_are_limited_like_all_others(settings: Settings) -> None:
    settings = settings.model_copy(update={"token_rate_per_minute": 5})
    app = create_app(settings, direct=True)
    async with (
        app.router.lifespan_context(app),
        client_of(app, token_of_first_start(settings)) as client,
    ):
        await make_project(client)
        statuses = [(await client.get(PROJECT)).status_code for _ in range(4)]
        refused = await client.get(PROJECT)
        assert await answered(app) == 3
    assert statuses == [200] * 4
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]


async def test_a_caller_in_a_loop_lets_others_run(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_project(client)
    headers = [(b"host", b"strongroom.test")]
    headers.append((b"authorization", client.headers["Authorization"].encode()))
    head = Head(PROJECT, headers=headers)
    await exchanged(application, head)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    while not stop.is_set():
        await exchanged(application, head)
    assert await answered(application)


async def test_without_direct_calls_nothing_is_kept(settings: Settings) -> None:
    app = create_app(settings, direct=False)
    async with (
        app.router.lifespan_context(app),
        client_of(app, token_of_first_start(settings)) as client,
    ):
        await make_project(client)
        for _ in range(2):
            assert (await client.get(PROJECT)).status_code == 200
        assert not await answered(app)
        assert not len(state_of(app).kept)


async def test_each_change_ends_the_answers_that_show_it(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    secret = [{"key": "B", "value": "w"}]
    await make_project(client, secrets=[{"key": "A", "value": "v"}])
    await make_project(client)
    manager = manager_of(application)

    async def outside(sql: str) -> None:
        await asyncio.to_thread(manager.execute_command, sql)

    changes = [
        client.patch(PROJECT, json={"name": "other"}),
        client.patch(f"{PROJECT}/configuration", json={"branch_name": "dev"}),
        client.put(f"{PROJECT}/secrets", json={"secrets": secret}),
        client.delete(f"{PROJECT}/secrets/A"),
        client.delete("/api/projects/2"),
        client.post("/api/projects/2/restore"),
        client.delete("/api/projects/2", params={"purge": "true"}),
        make_project(client),
        outside("UPDATE project_keys SET wrapped = 'sr1:A256GCM:gone:AAAA'"),
        outside("UPDATE project_secrets SET version = 7 WHERE key_name = 'B'"),
        outside("DELETE FROM project_settings"),
    ]
    plain = create_app(state_of(application).settings, direct=True)  # type: ignore[arg-type]
    running, beside = state_of(application), state_of(plain)
    beside.runtime, beside.service = running.runtime, running.service
    headers = {"Authorization": client.headers["Authorization"]}
    paths = [f"/api/projects/{id}{end}" for id in (1, 2) for end in ("", "/full", "/configuration")]
    paths += ["/api/projects", "/api/projects?limit=1"]
    async with client_of(plain) as unkept:
        before: list[Any] = []
        for number, change in enumerate([None, *changes]):
            if change is not None:
                await change
            after = [_without_cursor(await client.get(path)) for path in paths]
            again = [_without_cursor(await client.get(path)) for path in paths]
            fresh = [_without_cursor(await unkept.get(path, headers=headers)) for path in paths]
            assert after == again == fresh, number
            assert after != before, number
            before = after


def _without_cursor(response: httpx.Response) -> Any:
    document = json.loads(response.content)
    document.pop("next_cursor", None)
    document.pop("request_id", None)
    return response.status_code, document
