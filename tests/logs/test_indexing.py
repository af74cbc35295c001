"""Logs of an earlier version are indexed again, while searches find all logs once."""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.main import create_app
from backend.runtime import Runtime
from backend.schemas.logs import LogEntry
from backend.services.operations.log_indexing import LogIndexer
from config.settings import Settings
from tests.logs.moves import STEP, killed_at_every, make_earlier_logs, move_all
from tests.retention.killed import opened
from tests.support.api import Api, open_api
from tests.support.clients import client_of, token_of_first_start
from tests.support.clocks import SetClock
from tests.support.forked import Forked
from tests.support.log_index import index_agrees, index_differences, indexed_rows
from tests.support.logs import log, messages, send
from tests.support.processes import PATIENCE, Serving, environment, run

COUNT = 20
LEVELS = ("INFO", "WARNING", "ERROR")
SEARCHES: tuple[dict[str, Any], ...] = (
    {"q": "common"},
    {"q": "COMMON word3"},
    {"q": "number-7"},
    {"q": "absent"},
    {"level": "WARNING", "component": "c1"},
    {"level": "INFO", "q": "common"},
    {"component": "c2"},
    {"correlation_id": "x0", "q": "word0"},
    {"project_id": 1, "q": "common"},
    {"q": "common", "since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"},
    {"level": "ERROR"},
    {},
)


@pytest.fixture
async def path(database_path: Path, clock: SetClock) -> Path:
    """A database with logs, all of which are in the index of an earlier version."""
    async with open_api(database_path, clock) as api:
        await api.new_project("payments")
        await api.new_project("second")
        for number in range(COUNT):
            clock.advance(0.001)
            await send(
                api,
                log(
                    f"common word{number % 4}, number-{number} 测试失败 🔥",
                    LEVELS[number % 3],
                    component=f"c{number % 3}",
                    correlation_id=f"x{number % 2}",
                    project_id=1 + number % 2,
                ),
            )
    make_earlier_logs(database_path)
    return database_path


@pytest.fixture
async def api(path: Path, clock: SetClock) -> AsyncIterator[Api]:
    """The API over the earlier logs, which nothing indexes but the test."""
    async with open_api(path, clock) as api:
        await api.service.log_indexing.look()
        yield api


async def ids(api: Api, limit: int, **params: Any) -> list[int]:
    """The ids of all logs for these parameters, page by page."""
    found: list[int] = []
    query = urlencode({**params, "limit": limit})
    cursor = ""
    while True:
        answer = await api.get(f"/api/logs?{query}{cursor}")
        found += [item["id"] for item in answer["logs"]]
        if answer["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer['next_cursor']}"


async def test_every_search_finds_all_logs_once_at_any_time(api: Api) -> None:
    before = [await ids(api, 500, **search) for search in SEARCHES]
    assert sum(map(len, before)) > 100
    while await api.service.log_indexing.move(STEP):
        assert index_agrees(api.service.db_manager)
        for search, expected in zip(SEARCHES, before, strict=True):
            for limit in (2, 500):
                assert await ids(api, limit, **search) == expected, search
    assert [await ids(api, 3, **search) for search in SEARCHES] == before
    assert api.service.log_indexing.progress is None


async def test_the_newest_logs_are_moved_first_and_have_the_new_words(api: Api, path: Path) -> None:
    assert await messages(api, q="失败") == await messages(api, q="🔥") == []
    assert await api.service.log_indexing.move(STEP) == STEP
    newest = list(range(COUNT, COUNT - STEP, -1))
    assert await ids(api, 500, q="失败") == await ids(api, 500, q="🔥") == newest
    # Earlier words of logs that are not moved are still found.
    assert await ids(api, 500, q="测试失败") == list(range(COUNT, 0, -1))
    await move_all(api.service.log_indexing)
    assert await ids(api, 500, q="失败") == list(range(COUNT, 0, -1))
    assert indexed_rows(path, "system_log_index") == set()
    assert indexed_rows(path, "system_log_words") == set(range(1, COUNT + 1))


async def test_new_logs_and_removed_ones_are_found_or_not_meanwhile(api: Api) -> None:
    await api.service.log_indexing.move(STEP)
    await send(api, log("common new", project_id=1), log("common newer"))
    assert (await ids(api, 4, q="common"))[:3] == [COUNT + 2, COUNT + 1, COUNT]
    # Some that are moved and some that are not.
    async with api.service.transaction() as repositories:
        await repositories.logs.remove([1, 2, COUNT - 8, COUNT - 3, COUNT - 2, COUNT, COUNT + 1])
    assert index_agrees(api.service.db_manager)
    await api.call("DELETE", "/api/projects/2?purge=true", status=204)
    assert await ids(api, 4, q="common") == [COUNT + 2, 19, 15, 13, 11, 9, 7, 5, 3]
    while await api.service.retention.remove_orphaned_logs(2):
        assert index_agrees(api.service.db_manager)
    moved = await move_all(api.service.log_indexing)
    assert sum(moved) == 7
    assert await ids(api, 4, q="common") == [COUNT + 2, 19, 15, 13, 11, 9, 7, 5, 3]
    assert index_agrees(api.service.db_manager)


async def test_logs_that_are_all_removed_meanwhile_need_no_move(api: Api, path: Path) -> None:
    async with api.service.transaction() as repositories:
        await repositories.logs.remove(range(1, COUNT + 1))
    assert await api.service.log_indexing.move(STEP) == 0
    assert api.service.log_indexing.progress is None
    assert not index_differences(path)
    assert indexed_rows(path, "system_log_index") == indexed_rows(path, "system_log_words") == set()


async def test_long_messages_are_moved_in_smaller_steps(api: Api, path: Path) -> None:
    await send(api, *(log("x" * 10_000) for _ in range(30)))
    make_earlier_logs(path)
    moved = await move_all(api.service.log_indexing, 500)
    assert moved[:3] == [10, 10, 10]
    assert sum(moved) == COUNT + 30


async def test_the_progress_is_told(api: Api) -> None:
    assert (await api.get("/ready"))["log_words"] == {"total": COUNT, "done": 0}
    assert await left(api.client) == COUNT
    await api.service.log_indexing.move(STEP)
    assert (await api.get("/ready"))["log_words"] == {"total": COUNT, "done": STEP}
    assert await left(api.client) == COUNT - STEP
    await move_all(api.service.log_indexing)
    assert "log_words" not in await api.get("/ready")
    assert await left(api.client) == 0


async def left(client: httpx.AsyncClient) -> float:
    """The gauge of logs that are to be indexed."""
    text = (await client.get("/metrics")).text
    [family] = [
        family
        for family in text_string_to_metric_families(text)
        if family.name == "strongroom_logs_to_index"
    ]
    return family.samples[0].value


async def test_a_new_installation_has_nothing_to_move(database_path: Path, clock: SetClock) -> None:
    make_earlier_logs(database_path)
    async with open_api(database_path, clock) as api:
        await api.service.log_indexing.look()
        assert api.service.log_indexing.progress is None
        assert "log_words" not in await api.get("/ready")
        await send(api, log("first"))
        assert await messages(api, q="first") == ["first"]


@pytest.mark.long_form
async def test_killed_at_any_statement_the_next_move_goes_on_where_it_was(
    path: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "killed"
    directory.mkdir()
    with Forked(
        [path, directory], cwd=tmp_path, env=environment(), function=killed_at_every
    ) as killed:
        assert killed.wait(PATIENCE) == 0
    numbers = range(1, len(list(directory.glob("*.db"))) + 1)
    found = set()
    for number in numbers:
        copy = directory / f"{number}.db"
        assert not index_differences(copy)
        rest = len(indexed_rows(copy, "system_log_index"))
        found.add(rest)
        if number % 5 == 0 or number == numbers[-1]:
            async with opened(copy, SetClock()) as service:
                await service.log_indexing.look()
                progress = service.log_indexing.progress
                assert (progress.left if progress is not None else 0) == rest
                assert sum(await move_all(service.log_indexing)) == rest
            assert not index_differences(copy)
            assert indexed_rows(copy, "system_log_words") == set(range(1, COUNT + 1))
    # It was killed before, between and after the steps.
    assert found == set(range(COUNT, 0, -STEP)) | {0}


async def test_the_indexer_works_to_the_end_and_rebuilds_the_earlier_index(
    api: Api, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.services.operations.log_indexing._WORTH_TIDYING", 5)
    monkeypatch.setattr("backend.services.operations.log_indexing._FIRST", STEP)
    await LogIndexer(api.service.log_indexing).run()
    assert api.service.log_indexing.progress is None
    assert indexed_rows(path, "system_log_words") == set(range(1, COUNT + 1))
    with closing(sqlite3.connect(path)) as connection:
        # The record of an empty index, and that of its averages.
        assert connection.execute("SELECT count(*) FROM system_log_index_data").fetchone() == (2,)
        assert connection.execute("SELECT * FROM system_log_moves").fetchall() == []


async def test_the_indexer_stops_between_two_steps_and_goes_on(
    api: Api, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.services.operations.log_indexing._FIRST", 1)
    monkeypatch.setattr("backend.services.operations.log_indexing._MOST", 1)
    indexing = api.service.log_indexing
    indexer = LogIndexer(indexing)
    working = asyncio.ensure_future(indexer.run())
    while indexing.progress is not None and indexing.progress.done == 0:
        await asyncio.sleep(0)
    await indexer.stop()
    await working
    assert indexing.progress is not None
    assert 0 < indexing.progress.left < COUNT
    await LogIndexer(indexing).run()
    assert indexed_rows(path, "system_log_words") == set(range(1, COUNT + 1))


@pytest.fixture
async def earlier(settings: Settings) -> Settings:
    """An installation of an earlier version with logs."""
    runtime = await Runtime.start(settings)
    entries = [LogEntry.model_validate(log(f"测试失败 number {n}")) for n in range(COUNT)]
    await runtime.service.logs.append(entries)
    await runtime.stop()
    make_earlier_logs(runtime.manager.config.path)
    return settings


async def test_a_server_indexes_logs_while_it_serves(earlier: Settings) -> None:
    app = create_app(earlier)
    async with (
        app.router.lifespan_context(app),
        client_of(app, token_of_first_start(earlier)) as client,
    ):
        while "log_words" in (await client.get("/ready")).json():
            await asyncio.sleep(0)
        found = (await client.get("/api/logs?q=失败")).json()["logs"]
    assert len(found) == COUNT
    assert not index_differences(earlier.data_dir / "strongroom.db")


def test_a_half_indexed_installation_is_whole_and_can_be_backed_up(
    earlier: Settings, tmp_path: Path
) -> None:
    def command(*arguments: str | Path, data_dir: Path) -> None:
        env = environment(DATA_DIR=str(data_dir), MASTER_KEYS=keys(earlier))
        ran = run(*arguments, cwd=tmp_path, env=env)
        assert ran.status == 0, ran.err

    async def some(data_dir: Path) -> None:
        runtime = await Runtime.start(earlier.model_copy(update={"data_dir": data_dir}))
        await runtime.service.log_indexing.move(STEP)
        await runtime.stop()

    asyncio.run(some(earlier.data_dir))
    command("verify", data_dir=earlier.data_dir)
    command("backup", tmp_path / "backup.db", data_dir=earlier.data_dir)
    restored = tmp_path / "restored"
    command("restore", tmp_path / "backup.db", data_dir=restored)
    assert len(indexed_rows(restored / "strongroom.db", "system_log_index")) == COUNT - STEP
    asyncio.run(some(restored))
    assert len(indexed_rows(restored / "strongroom.db", "system_log_index")) == COUNT - 2 * STEP
    assert not index_differences(restored / "strongroom.db")
    command("verify", data_dir=restored)


def test_a_server_that_is_killed_goes_on_at_the_next_start(earlier: Settings) -> None:
    path = earlier.data_dir / "strongroom.db"
    many = 20_000
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO system_logs (level, level_no, message, created_at)"
            " SELECT 'INFO', 20, 'word' || (i % 97) || ' 测试失败', '2026-01-31T12:00:00.000000Z'"
            " FROM n",
            (many,),
        )
        connection.commit()
    make_earlier_logs(path)
    rest = []
    for kills in (True, True, False):
        with Serving(earlier.data_dir, env=environment(MASTER_KEYS=keys(earlier))) as server:
            with server.client() as client:
                first: int | None = None
                while (progress := client.get("/ready").json().get("log_words")) is not None:
                    first = progress["done"] if first is None else first
                    if kills and progress["done"] > first:
                        break
            if kills:
                server.end(signal.SIGKILL)
        rest.append(len(indexed_rows(path, "system_log_index")))
    assert COUNT + many > rest[0] > rest[1] > rest[2] == 0
    assert not index_differences(path)


def keys(settings: Settings) -> str:
    """The master keys of the installation."""
    assert settings.master_keys is not None
    return settings.master_keys.get_secret_value()
