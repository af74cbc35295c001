"""A page ends after 4 MiB as well: every list, found by its cursor in the OpenAPI document."""

import gzip
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.repositories.paging import MAX_PAGE_BYTES
from database.engine import Value
from tests.http.page_rows import (
    ESCAPED,
    KEY,
    NOW,
    TIMES,
    configuration_version_row,
    project_row,
    run_row,
    secret_version_row,
)
from tests.support.http import make_project, manager_of
from tests.support.routes import all_calls, make_something_of_everything

PAGE = 4 * 1024 * 1024


class Rows:
    """Puts rows into tables, larger ones and more of them than a test could send."""

    def __init__(self, application: FastAPI) -> None:
        self._pool = manager_of(application).async_pool

    async def add(self, table: str, count: int, make: Callable[[int], dict[str, Value]]) -> int:
        """Insert `count` rows; how many they are."""
        made = [make(number) for number in range(count)]
        columns = ", ".join(made[0])
        await self._pool.execute_many(
            f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(made[0]))})",  # noqa: S608
            [tuple(row.values()) for row in made],
        )
        return count


Fill = Callable[[Rows], Awaitable[int]]


def fill(table: str, count: int, make: Callable[[int], dict[str, Value]]) -> Fill:
    """Fills one table."""

    async def run(rows: Rows) -> int:
        return await rows.add(table, count, make)

    return run


async def fill_secrets(rows: Rows) -> int:
    await rows.add(
        "project_secrets",
        500,
        lambda n: {
            "project_id": 1,
            "project_key_id": 1,
            "key_name": f"K{n}".ljust(100, "_"),
            "ciphertext": "c" * 80_000,
            **TIMES,
        },
    )
    # The one that there was.
    return 501


async def fill_history(rows: Rows) -> int:
    await rows.add("agent_runs", 100, lambda n: run_row(n, id=n + 2))
    await rows.add(
        "test_results",
        100 * 300,
        lambda n: {
            "agent_run_id": 2 + n % 100,
            "test_type": f"{n // 100:03} {KEY * 96}",
            "test_name": "test",
            "status": "passed",
            "duration_seconds": 1 / 3,
            **TIMES,
        },
    )
    return 300


@dataclass(frozen=True)
class Case:
    """A list, and rows for it."""

    fill: Fill
    path: str
    several: bool = True
    """Whether its rows can be so large that 500 of them are too much."""
    params: str = ""


LARGE_ENTRIES = fill(
    "audit_entries",
    600,
    lambda n: {
        "id": 1000 + n,
        "at": NOW,
        "actor": KEY * 255,
        "action": "x" * 100,
        "target": KEY * 500,
        "mac": "0" * 64,
    },
)

LISTS: dict[str, Case] = {
    "/api/projects": Case(fill("projects", 700, project_row), "/api/projects"),
    "/api/agent-runs": Case(
        fill("agent_runs", 12, lambda n: run_row(n, result=ESCAPED * (n * 20_000))),
        "/api/agent-runs",
    ),
    "/api/projects/{project_id}/secrets": Case(
        fill_secrets, "/api/projects/1/secrets", several=False
    ),
    "/api/projects/{project_id}/configuration/versions": Case(
        fill(
            "configuration_versions",
            60,
            configuration_version_row,
        ),
        "/api/projects/1/configuration/versions",
    ),
    "/api/projects/{project_id}/secrets/{key}/versions": Case(
        fill(
            "secret_versions",
            600,
            secret_version_row,
        ),
        "/api/projects/1/secrets/KEY/versions",
        several=False,
    ),
    "/api/logs": Case(
        fill(
            "system_logs",
            100,
            lambda n: {
                "level": "INFO",
                "level_no": 20,
                "message": ESCAPED * 9000,
                "context": json.dumps({"a": "x" * (n * 600)}),
                "created_at": NOW,
            },
        ),
        "/api/logs",
    ),
    "/api/agent-runs/{run_id}/pipeline-states": Case(
        fill(
            "pipeline_states",
            100,
            lambda n: {
                "agent_run_id": 1,
                "state": "testing",
                "metadata": json.dumps({f"{n}": '"' * 30_000}),
                "created_at": NOW,
            },
        ),
        "/api/agent-runs/1/pipeline-states",
    ),
    "/api/agent-runs/{run_id}/test-results": Case(
        fill(
            "test_results",
            30,
            lambda n: {
                "agent_run_id": 1,
                "test_type": "unit",
                "test_name": f"{n}",
                "status": "failed",
                "error_message": KEY * (n * 10_000),
                **TIMES,
            },
        ),
        "/api/agent-runs/1/test-results",
    ),
    "/api/projects/{project_id}/test-history": Case(
        fill_history, "/api/projects/1/test-history", params="&runs=100&test_name=test"
    ),
    "/api/agent-runs/{run_id}/snapshots": Case(
        fill(
            "grainchain_snapshots",
            20,
            lambda n: {
                "agent_run_id": 1,
                "snapshot_id": f"s{n}",
                "error_message": "x" * 900_000,
                **TIMES,
            },
        ),
        "/api/agent-runs/1/snapshots",
    ),
    "/api/projects/{project_id}/webhooks": Case(
        fill(
            "webhooks",
            100,
            lambda _: {
                "project_id": 1,
                "webhook_type": "custom",
                "events": json.dumps(["e" * 100] * 600),
                **TIMES,
            },
        ),
        "/api/projects/1/webhooks",
    ),
    "/api/webhooks/{webhook_id}/deliveries": Case(
        fill(
            "webhook_deliveries",
            600,
            lambda n: {
                "webhook_id": 1,
                "guid": f"{n}".rjust(100, KEY),
                "event": KEY * 100,
                "action": KEY * 100,
                "payload_bytes": 20_000,
                "payload": "x" * 20_000,
                "created_at": NOW,
            },
        ),
        "/api/webhooks/1/deliveries",
        several=False,
    ),
    "/api/tokens": Case(
        fill(
            "api_tokens",
            500,
            lambda n: {
                "name": KEY * 250,
                "mac": f"{n}",
                "scopes": '["admin"]',
                "project_ids": json.dumps([2**62 + i for i in range(500)]),
                "created_at": NOW,
            },
        ),
        "/api/tokens",
    ),
    "/api/audit": Case(LARGE_ENTRIES, "/api/audit", several=False),
    "/api/events": Case(LARGE_ENTRIES, "/api/events", several=False),
    "/api/backups": Case(fill("agent_runs", 1, run_row), "/api/backups", several=False),
}


@pytest.fixture
async def rows(application: FastAPI, client: httpx.AsyncClient) -> Rows:
    """For an application that has something of everything."""
    await make_something_of_everything(client)
    await client.post("/api/projects/1/webhooks", json={"webhook_type": "custom"})
    return Rows(application)


def other_lists() -> Iterator[str]:
    """Lists that need no case: a POST to the same path adds the items."""
    lists = {
        call.template for call in all_calls() if call.method == "GET" and "cursor" in call.query
    }
    assert lists >= LISTS.keys()
    for call in all_calls():
        if call.method == "POST" and call.template in lists - LISTS.keys():
            lists.remove(call.template)
            yield call.template
    assert lists == LISTS.keys(), "say in LISTS how these lists are filled"


def items(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a page, whatever they are called."""
    lists = [value for value in page.values() if isinstance(value, list)]
    assert len(lists) == 1
    found: list[dict[str, Any]] = lists[0]
    return found


def posted(client: httpx.AsyncClient, template: str) -> Case:
    """The case of a list that is filled over HTTP, its longest text as long as it may be."""
    call = next(c for c in all_calls() if (c.method, c.template) == ("POST", template))
    texts = {
        name: schema.get("maxLength", 0)
        for name, schema in call.body_schema["properties"].items()
        if schema.get("type") == "string" and "enum" not in schema
    }
    field = max(texts, key=lambda name: texts[name])
    length = min(texts[field], 500_000)
    count = 2 * PAGE // length if length > PAGE // 500 else 501

    async def fill(_rows: Rows) -> int:
        for number in range(count):
            body = {**call.example, field: f"{number} ".ljust(length, "x")}
            assert (await client.post(call.path(), json=body)).status_code == 201
        return count

    return Case(fill, call.path(), several=count < 500)


@pytest.mark.parametrize("template", [*LISTS, *other_lists()])
async def test_a_page_ends_after_4_mib_and_nothing_is_left_out(
    client: httpx.AsyncClient, rows: Rows, template: str
) -> None:
    case = LISTS[template] if template in LISTS else posted(client, template)
    before = len(items((await client.get(f"{case.path}?limit=500")).json()))
    count = await case.fill(rows)
    seen: list[str] = []
    sizes: list[tuple[int, int, int]] = []
    cursor = ""
    while True:
        answer = await client.get(f"{case.path}?limit=500{case.params}{cursor}")
        assert answer.status_code == 200, answer.text[:500]
        page = answer.json()
        shown = [json.dumps(item, ensure_ascii=False) for item in items(page)]
        sizes.append((len(answer.content), len(shown), len(shown[0].encode()) if shown else 0))
        seen += shown
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    if template == "/api/projects/{project_id}/secrets":
        # Those that there were are counted already.
        before = 0
    if template != "/api/backups":
        assert len(seen) == count + before
    assert len(seen) == len(set(seen))
    assert (len(sizes) > 1) == case.several or count > 500
    for (size, number, _), (_, _, following) in zip(sizes, [*sizes[1:], (0, 0, PAGE)], strict=True):
        assert size <= PAGE or number == 1
        # It ends no sooner than it must; spaces in stored JSON count.
        assert number == 500 or size + following > PAGE * 0.94


async def test_a_larger_item_is_a_page_of_its_own(client: httpx.AsyncClient, rows: Rows) -> None:
    large = ESCAPED * 900_000
    await rows.add("agent_runs", 4, lambda n: run_row(n, result=large if n in (1, 2) else None))
    found = []
    cursor = ""
    while True:
        page = (await client.get(f"/api/agent-runs?limit=500{cursor}")).json()
        found.append([run["id"] for run in page["agent_runs"]])
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == [[5], [4], [3], [2, 1]]


async def test_a_page_of_runs_past_what_sqlite_can_hold_is_read_no_further(
    client: httpx.AsyncClient, rows: Rows
) -> None:
    text = "x" * 1_000_000
    full = {"result": text, "error_message": text, "planning_statement": text}
    await rows.add("agent_runs", 4, lambda n: run_row(n, **full))
    answer = await client.get("/api/agent-runs?limit=500")
    assert answer.status_code == 200
    assert len(answer.json()["agent_runs"]) == 1
    packed = await client.get("/api/agent-runs?limit=500", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == answer.json()
    assert len(gzip.compress(answer.content)) < 100_000


async def test_the_run_beside_its_states_counts(client: httpx.AsyncClient, rows: Rows) -> None:
    await LISTS["/api/agent-runs/{run_id}/pipeline-states"].fill(rows)
    text = "x" * 900_000
    for _ in range(2):
        await client.patch("/api/agent-runs/1", json={"result": text})
        await client.patch("/api/agent-runs/1", json={"error_message": text})
    answer = await client.get("/api/agent-runs/1/pipeline-states?limit=500")
    assert len(answer.content) <= PAGE
    assert len(answer.content) > MAX_PAGE_BYTES * 0.97


async def test_small_items_fill_a_page_to_its_limit(client: httpx.AsyncClient, rows: Rows) -> None:
    await rows.add("agent_runs", 500, run_row)
    page = (await client.get("/api/agent-runs?limit=500")).json()
    assert len(page["agent_runs"]) == 500
    assert page["next_cursor"] is not None
    other = await make_project(client)
    assert (await client.get(f"/api/agent-runs?project_id={other['id']}")).json() == {
        "agent_runs": [],
        "next_cursor": None,
    }
