"""An upgrade indexes the projects in the background, whatever interrupts it."""

import asyncio
import random
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing

import pytest

from backend.observability.log import configure_logging
from backend.runtime import Runtime
from backend.services.database_service import DatabaseService
from config.settings import Settings
from tests.support.earlier import make_unindexed
from tests.support.forked import Forked
from tests.support.processes import environment

PROJECTS = 12_000
PATIENCE = 60.0
INSERT = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
    " INSERT INTO projects (name, github_owner, github_repo, name_key, owner_key, repo_key,"
    " search_text, created_at, updated_at)"
    " SELECT 'p' || i, 'o', 'r' || i, 'p' || i, 'o', 'r' || i,"
    " 'p' || i || char(10) || 'o/r' || i, at, at"
    " FROM n, (SELECT '2026-01-31T12:00:00.000000Z' AS at)"
)


@pytest.fixture
def earlier(installed: Settings) -> Settings:
    """An installation of an earlier version, with many projects."""
    path = installed.data_dir / "strongroom.db"
    make_unindexed(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(INSERT, (PROJECTS,))
    return installed


def indexed_id(settings: Settings) -> int:
    """How far the index has got; 0 before the migration."""
    uri = f"{(settings.data_dir / 'strongroom.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        try:
            row = connection.execute("SELECT indexed_id FROM project_index_state").fetchone()
        except sqlite3.OperationalError:
            return 0
    return int(row[0])


async def ids_of(service: DatabaseService, text: str) -> list[int]:
    """The projects that a search finds."""
    page = await service.projects.page(text=text, sort="name", limit=500)
    return [project.id for project in page.projects]


async def check(service: DatabaseService) -> None:
    """Require all projects to be found, and the index to be whole."""
    assert await ids_of(service, f"p{PROJECTS - 1}") == [PROJECTS - 1]
    assert await ids_of(service, "r777\n") == []
    assert await ids_of(service, "r7777") == [7777]
    async with service.transaction() as repositories:
        index = repositories.project_index
        assert await index.index.check(index.db)


async def test_searches_find_everything_while_the_index_is_made(earlier: Settings) -> None:
    runtime = await Runtime.start(earlier)
    try:
        service = runtime.service
        assert (await service.project_index.state()).indexed_id == 0
        assert await ids_of(service, "r7777") == [7777]
        indexing = asyncio.ensure_future(runtime.project_indexer.run())
        while not indexing.done():
            assert await ids_of(service, "r7777") == [7777]
            assert await ids_of(service, "nowhere") == []
        await indexing
        assert (await service.project_index.state()).indexed_id == PROJECTS
        await check(service)
    finally:
        await runtime.stop()


async def test_an_indexing_ends_with_the_service_and_goes_on_at_the_next_start(
    earlier: Settings,
) -> None:
    runtime = await Runtime.start(earlier)
    runtime.start_background_work()
    while indexed_id(earlier) == 0:
        await asyncio.sleep(0)
    await runtime.stop()
    reached = indexed_id(earlier)
    assert 0 < reached < PROJECTS
    runtime = await Runtime.start(earlier)
    await runtime.project_indexer.run()
    await check(runtime.service)
    await runtime.stop()


def serve(_: Sequence[str]) -> int:
    """Start an installation in this process with its background work, until all is indexed."""
    settings = Settings(_env_file=None, db_readers=1)
    configure_logging("INFO", "json", sys.stdout)

    async def until_indexed() -> None:
        runtime = await Runtime.start(settings)
        runtime.start_background_work()
        while (await runtime.service.project_index.state()).is_due:
            await asyncio.sleep(0.01)
        await runtime.stop()

    asyncio.run(until_indexed())
    return 0


def killed_beyond(settings: Settings, id: int) -> None:
    """Start the installation in a process, which is killed once the index has passed this id."""
    assert settings.master_keys is not None
    keys = settings.master_keys.get_secret_value()
    variables = environment(DATA_DIR=str(settings.data_dir), MASTER_KEYS=keys)
    folder = settings.data_dir.parent
    with Forked([], cwd=folder, env=variables, function=serve) as process:
        until = time.monotonic() + PATIENCE
        while indexed_id(settings) <= id:
            assert time.monotonic() < until
        process.kill()
        assert process.stdout is not None
        process.stdout.read()


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long_form)])
def test_an_indexing_that_is_killed_goes_on_at_the_next_start(
    earlier: Settings, kills: int
) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    for _ in range(kills):
        before = indexed_id(earlier)
        if before > PROJECTS * 0.9:
            # A kill that comes late leaves nothing to interrupt.
            make_unindexed(earlier.data_dir / "strongroom.db")
            before = 0
        killed_beyond(earlier, before + chance.randrange(PROJECTS // (kills + 2)))
        assert indexed_id(earlier) > before

    async def finish() -> None:
        runtime = await Runtime.start(earlier)
        await runtime.project_indexer.run()
        await check(runtime.service)
        await runtime.stop()

    asyncio.run(finish())
