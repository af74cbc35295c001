"""Runs of an earlier version are found before, while and after they are indexed."""

import sqlite3
from contextlib import closing
from unicodedata import normalize

import pytest

from backend.repositories import following_index
from backend.runtime import Runtime
from backend.schemas.runs import RunChoice
from config.settings import Settings
from tests.support.earlier import make_runs_unindexed

RUNS = 300
AT = "2026-01-31T12:00:00.000000Z"


@pytest.fixture
def earlier(installed: Settings) -> Settings:
    """An installation of an earlier version with runs, every third of which is not ASCII."""
    path = installed.data_dir / "strongroom.db"
    make_runs_unindexed(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO projects (name, github_owner, github_repo, name_key, owner_key, repo_key,"
            " search_text, created_at, updated_at) VALUES ('p', 'o', 'r', 'p', 'o', 'r',"
            " 'p' || char(10) || 'o/r', ?, ?)",
            (AT, AT),
        )
        word = normalize("NFD", "ÉTÉ")
        connection.executemany(
            "INSERT INTO agent_runs (project_id, run_number, target_text, created_at, updated_at)"
            " VALUES (1, ?, ?, ?, ?)",
            [(n, f"Plan {word if n % 3 == 0 else 'x'} {n}.", AT, AT) for n in range(1, RUNS + 1)],
        )
        connection.commit()
    return installed


async def test_runs_of_an_earlier_version_are_found_in_any_form(
    earlier: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_index, "MOST_UNINDEXED", RUNS // 2)
    runtime = await Runtime.start(earlier)
    try:
        service = runtime.service
        more = True
        while more:
            for text, ids in (("été", range(RUNS, 0, -3)), (" 77.", [77]), ("T\u00c9 300.", [300])):
                page = await service.runs.page(RunChoice(text=text), limit=500)
                assert [run.id for run in page.agent_runs] == list(ids)
            more = (await service.run_index.index_next(70)).rows > 0
        assert (await service.run_index.state()).indexed_id == RUNS
        async with service.transaction() as repositories:
            index = repositories.run_index
            assert await index.index.check(index.db)
    finally:
        await runtime.stop()
