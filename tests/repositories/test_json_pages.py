"""A page that SQLite writes as JSON equals the same page written from models."""

import json
import random
import re
import sqlite3
import tracemalloc
from collections.abc import Callable

import pytest

from backend.repositories import Repositories
from backend.repositories.agent_run_repository import LARGE_COLUMNS
from backend.repositories.paging import json_members
from backend.repositories.project_pages import ProjectFilter
from backend.repositories.run_pages import RunFilter
from database.connection_manager import DatabaseManager
from database.engine import Params, Row
from models import AgentRun, Project, TestResult
from tests.support.plans import Explaining

TEXTS = [
    'a "quoted" \\ name/',
    "line\nbreak\ttab \x01\x1e\x1f\x7f",
    "Ünïcödé — 漢字 🎉 \u2028\u2029",
    "</script>&amp;'",
    "x" * 255,
    "[1, 2]",
    "null",
]


async def test_texts_come_out_as_they_went_in(manager: DatabaseManager) -> None:
    repositories = Repositories(manager)
    for number, text in enumerate(TEXTS):
        await repositories.projects.create(
            {
                "name": text,
                "github_owner": "acme",
                "github_repo": f"repo-{number}",
                "auto_merge_enabled": bool(number % 2),
                "webhook_url": None if number % 3 else "https://example.com/?a=1&b=2",
            }
        )
    models = await repositories.projects.page(ProjectFilter(), sort="name", limit=50, after=None)
    page = await repositories.projects.json_page(ProjectFilter(), sort="name", limit=50, after=None)
    assert page.next_position is None
    assert [json.loads(item) for item in page.items] == [
        project.model_dump(mode="json") for project in models.items
    ]
    assert {project.name for project in models.items} == set(TEXTS)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_positions_are_those_of_the_models(manager: DatabaseManager, limit: int) -> None:
    repositories = Repositories(manager)
    for number in range(4):
        await repositories.projects.create(
            {"name": TEXTS[number], "github_owner": "acme", "github_repo": f"repo-{number}"}
        )
    after = None
    seen = []
    while True:
        models = await repositories.projects.page(
            ProjectFilter(), sort="-name", limit=limit, after=after
        )
        page = await repositories.projects.json_page(
            ProjectFilter(), sort="-name", limit=limit, after=after
        )
        assert page.next_position == models.next_position
        seen += [json.loads(item)["name"] for item in page.items]
        if page.next_position is None:
            break
        after = page.next_position
    assert sorted(seen) == sorted(TEXTS[:4])


async def test_no_rows_are_an_empty_page(manager: DatabaseManager) -> None:
    page = await Repositories(manager).projects.json_page(
        ProjectFilter(), sort="name", limit=5, after=None
    )
    assert (page.items, page.next_position) == ([], None)


async def test_objects_and_nulls_come_out_as_they_went_in(manager: DatabaseManager) -> None:
    repositories = Repositories(manager)
    project = await repositories.projects.create(
        {"name": "P", "github_owner": "acme", "github_repo": "p"}
    )
    metadata = {"b": [1, 2.5, None, True], "a": {"ü": "\u2028", "n": 2**53 + 1}, "e": {}}
    await repositories.runs.create(
        {"project_id": project.id, "run_number": 1, "target_text": "t", "metadata": metadata}
    )
    (model,) = (
        await repositories.runs.page(RunFilter(), sort="-created_at", limit=5, after=None)
    ).items
    (text,) = (
        await repositories.runs.json_page(RunFilter(), sort="-created_at", limit=5, after=None)
    ).items
    shown = json.loads(text)
    assert shown == model.model_dump(mode="json")
    assert list(shown["metadata"].items()) == list(metadata.items())
    assert shown["pr_number"] is None


def test_the_members_are_those_of_the_models_json() -> None:
    for model in (Project, AgentRun, TestResult):
        assert list(json_members(model)) == [
            name for name, field in model.model_fields.items() if not field.exclude
        ]
    kinds = json_members(TestResult)
    assert (kinds["result_data"], kinds["status"]) == ("json", "plain")
    assert json_members(AgentRun)["merge_completed"] == "boolean"


@pytest.mark.parametrize(("table", "large"), [("agent_runs", LARGE_COLUMNS), ("projects", ())])
async def test_the_large_columns_are_known(
    manager: DatabaseManager, table: str, large: tuple[str, ...]
) -> None:
    row = await manager.async_pool.fetch_one(
        "SELECT sql FROM sqlite_master WHERE name = ?", (table,)
    )
    assert row is not None
    found = re.findall(r"length\((\w+)\) (?:<=|BETWEEN \d+ AND) (\d+)", row["sql"])
    assert len(found) > 3
    assert tuple(column for column, most in found if int(most) > 4096) == large


class Counting(Explaining):
    """An executor that counts the bytes that are read, row by row."""

    read = 0

    async def fetch_while(self, sql: str, params: Params, takes: Callable[[Row], bool]) -> None:
        def counted(row: Row) -> bool:
            self.read += sum(len(value) for value in row if isinstance(value, str | bytes))
            return takes(row)

        await super().fetch_while(sql, params, counted)


@pytest.mark.parametrize("limit", [2, 50, 500])
async def test_no_more_is_read_than_a_page_has(manager: DatabaseManager, limit: int) -> None:
    repositories = Repositories(manager)
    await repositories.projects.create({"name": "P", "github_owner": "o", "github_repo": "p"})
    text = "x" * 900_000
    for number in range(1, 41):
        await repositories.runs.create(
            {"project_id": 1, "run_number": number, "target_text": "t", "result": text}
        )
    counting = Counting(manager.async_pool)
    operations = 0

    def count(raw: sqlite3.Connection) -> None:
        def one_more() -> int:
            nonlocal operations
            operations += 1
            return 0

        raw.set_progress_handler(one_more, 100)

    for _ in range(8):
        await manager.async_pool.run_read(count)
    page = await repositories.runs.using(counting).json_page(
        RunFilter(), sort="-created_at", limit=limit, after=None
    )
    assert len(page.items) == min(limit, 4)
    assert counting.read < 6_000_000
    # Reading all forty rows takes more than twenty-five operations.
    assert operations < 15


async def test_a_large_item_takes_the_memory_of_its_bytes(manager: DatabaseManager) -> None:
    repositories = Repositories(manager)
    await repositories.projects.create({"name": "P", "github_owner": "o", "github_repo": "p"})
    # Six bytes of JSON for each character; as a string, the emoji makes them twenty-four.
    text = "\U0001f511" + "\x1b" * 900_000
    for number in (1, 2):
        await repositories.runs.create(
            {"project_id": 1, "run_number": number, "target_text": "t", "result": text}
        )
    tracemalloc.start()
    try:
        page = await repositories.runs.json_page(
            RunFilter(), sort="-created_at", limit=5, after=None
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (item,) = page.items
    # The item, and the one that was read to find that it no longer fits.
    assert peak < 3 * len(item)


async def test_a_double_is_written_in_its_shortest_form(manager: DatabaseManager) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    doubles = [
        *(a / b for b in range(1, 60) for a in range(b + 1)),
        *(chance.random() for _ in range(500)),
        *(0.1 + 0.2, 1e-7, 123456.789, 1e15 + 0.5),
    ]
    values = ", ".join("(?, ?)" for _ in doubles)
    items, more = await manager.async_pool.dialect.fetch_json_page(
        manager.async_pool,
        f"WITH v (id, d) AS (VALUES {values}) SELECT * FROM v ORDER BY id LIMIT 9999",  # noqa: S608
        [value for pair in enumerate(doubles) for value in pair],
        members={"d": "double"},
        keys=("id",),
        large=(),
        limit=len(doubles),
        most_bytes=10**6,
    )
    assert more is None
    assert [json.loads(item)["d"] for item in items] == doubles
    for item, double in zip(items, doubles, strict=True):
        written = item.removeprefix(b'{"d":').removesuffix(b"}").decode()
        assert len(written) <= len(repr(double)) or "e" in written
