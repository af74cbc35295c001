"""Texts in the file that no client can have written: not UTF-8, not JSON, no time, no name.

A row with such a text is like any other forged row. It prevents no list and no other request.
"""

import asyncio
import json
import random
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.repositories.guarded_kinds import GUARDED_KINDS
from tests.guard.world import Running, World, outside, running
from tests.support.routes import Call, calls, send

SCHEMA = (Path(__file__).parents[2] / "database/schema.sql").read_text(encoding="utf-8")
NOT_SHOWN = {
    "answer_keys",
    "audit_anchor",
    "installation",
    "key_rotations",
    "master_keys",
    "project_keys",
    "run_index_removals",
    "schema_migrations",
    "stored_answers",
    "system_log_blocks",
}
"""Tables without texts in the answers about resources. Each start checks most of them."""
BAD_BYTES = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc3", b"\x80"]
NO_VALUES = [b"", b"{", b"[1]", b"\0x", b"text", b"2020-01-01T00:00:00.000000", b"9" * 27]


def _text_columns() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        tables = db.execute("SELECT name FROM pragma_table_list WHERE strict")
        return [
            (table, name)
            for (table,) in sorted(tables.fetchall())
            for _, name, declared, *_ in db.execute(f"PRAGMA table_info({table})")
            if declared == "TEXT" and table not in NOT_SHOWN
        ]


COLUMNS = _text_columns()
GUARDED = {kind.table for kind in GUARDED_KINDS}
UNGUARDED = {"last_used_at", "last_triggered_at"}


def damaged_texts(seed: str) -> Iterator[bytes]:
    """Bytes for a column: some that are not UTF-8, then some that are no value of its kind."""
    choice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    around = [b"", b"a", b'"', b"\\", "\u00e9\U0001f511".encode(), choice.randbytes(20)]
    yield choice.choice(around) + choice.choice(BAD_BYTES) + choice.choice(around)
    yield choice.choice(NO_VALUES)


def write(world: World, table: str, column: str, stored: bytes) -> None:
    """Write the bytes as the text of a column, in one row of the table."""
    # The first token is the one that the test uses, and the first entry of the audit is about it.
    end = "max" if table in ("api_tokens", "audit_entries") else "min"
    with outside(world.database) as db:
        key = db.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE pk = 1").fetchone()  # noqa: S608
        key = key[0] if key is not None else "rowid"
        changed = db.execute(
            f"UPDATE OR REPLACE {table} SET {column} = CAST(? AS TEXT)"  # noqa: S608
            f" WHERE {key} = (SELECT {end}({key}) FROM {table})",
            (stored,),
        )
        assert changed.rowcount == 1


@pytest.fixture(scope="module")
async def filled_world(made_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The installation with runs that have something of each kind, and logs."""
    world = made_world.copy(tmp_path_factory.mktemp("filled") / "data")
    async with running(world) as service:
        result = {"test_type": "unit", "test_name": "t", "status": "passed"}
        log = {"level": "INFO", "message": "first log", "component": "c", "correlation_id": "i"}
        for path, body in (
            ("/api/agent-runs/1/pipeline-states", {"state": "created"}),
            ("/api/agent-runs/1/pipeline-states", {"state": "agent_running"}),
            ("/api/agent-runs/1/messages", {"role": "user", "content": "c"}),
            ("/api/agent-runs/1/test-results", result),
            ("/api/agent-runs/1/snapshots", {"snapshot_id": "s"}),
            ("/api/logs", {**log, "project_id": 1, "agent_run_id": 1}),
        ):
            answer = await service.client.post(path, json=body)
            assert answer.status_code == 201, answer.text
        answer = await service.client.post(
            "/api/agent-runs/1/test-results",
            content=b"<testsuite><testcase classname='c' name='n'/></testsuite>",
            headers={"Content-Type": "application/xml"},
        )
        assert answer.status_code == 201, answer.text
    return world


def all_readable(answer: httpx.Response, call: Call | None = None) -> Any:
    """The JSON of an answer that is no failure of the service; `None` without JSON."""
    assert answer.status_code < 500, (str(call), answer.text)
    text = answer.content.decode()
    if call is not None and call.template.endswith("/deliveries/{delivery_id}"):
        # A payload is passed on as it is.
        return None
    kind = answer.headers.get("content-type", "")
    if "ndjson" in kind:
        return [json.loads(line) for line in text.split("\n") if line]
    return json.loads(text) if "json" in kind else None


async def check_pages(
    client: httpx.AsyncClient, call: Call, names: dict[str, Any], given: dict[str, Any]
) -> None:
    """Check that the items of a list are the same when it is read one item a page."""
    whole = await send(client, call, names, params={**given, "limit": 100})
    if whole.status_code != 200:
        return
    items, single = _items(whole.json()), list[Any]()
    params: dict[str, Any] = {**given, "limit": 1}
    while len(single) <= len(items):
        page = all_readable(await send(client, call, names, params=params), call)
        single += _items(page)
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert single == items, call


def _items(page: dict[str, Any]) -> list[Any]:
    [items] = (value for value in page.values() if isinstance(value, list))
    # Requests of this test use a token.
    return [{**item, "last_used_at": None} for item in items]


async def every_answer_is_readable(service: Running) -> None:
    """Read all that the service shows, and each list page by page."""
    for call in calls(service.app):
        if call.method != "GET" or "backup" in call.template:
            continue
        names = {**dict.fromkeys(call.names, 1), "key": "OTHER", "owner": "acme", "repo": "first"}
        choices: dict[str, list[str | None]] = {
            "sort": ["name", "-updated_at", "created_at"],
            "q": [None, "first"],
        }
        some = {name: values for name, values in choices.items() if name in call.query}
        for values in product(*some.values()):
            given = {name: value for name, value in zip(some, values, strict=True) if value}
            all_readable(await send(service.client, call, names, params=given), call)
            if "cursor" in call.query:
                await check_pages(service.client, call, names, given)


# The short form of the next test damages all texts of a row at once.
@pytest.mark.long_form
@pytest.mark.parametrize(("table", "column"), [one for one in COLUMNS if one[0] in GUARDED])
async def test_a_damaged_text_prevents_nothing(
    filled_world: World, tmp_path: Path, table: str, column: str
) -> None:
    [malformed, _] = damaged_texts(f"{table}.{column}")
    await check(filled_world.copy(tmp_path / "copy"), table, {column: malformed})


@pytest.mark.parametrize("table", sorted({table for table, _ in COLUMNS} - GUARDED))
async def test_a_row_of_damaged_texts_prevents_nothing(
    filled_world: World, tmp_path: Path, table: str
) -> None:
    columns = [column for name, column in COLUMNS if name == table]
    texts = {column: next(damaged_texts(f"{table}.{column}")) for column in columns}
    await check(filled_world.copy(tmp_path / "copy"), table, texts)


@pytest.mark.long_form
@pytest.mark.parametrize(("table", "column"), COLUMNS)
async def test_no_damaged_text_prevents_anything(
    filled_world: World, tmp_path: Path, table: str, column: str
) -> None:
    for number in range(3):
        for stored in damaged_texts(secrets.token_hex()):
            world = filled_world.copy(tmp_path / f"{number}-{stored.hex()}")
            await check(world, table, {column: stored})


@pytest.mark.parametrize(("column", "stored"), [("key_name", b"\xff"), ("deleted_at", b"!\xff")])
async def test_what_goes_through_all_versions_passes_a_damaged_one(
    filled_world: World, tmp_path: Path, column: str, stored: bytes
) -> None:
    world = filled_world.copy(tmp_path / "copy")
    write(world, "secret_versions", column, stored)
    async with running(world) as service, asyncio.timeout(60):
        client = service.client
        # These bytes come after the text that they are read as.
        assert (await client.get("/api/retention")).status_code == 200
        assert (await client.post("/api/retention/prune")).json()["status"] == "completed"
        rotated = await client.post("/api/keys/rotate", json={"reencrypt": True})
        assert rotated.json()["status"] == "finished", rotated.text


def _was_removed(world: World, table: str, stored: dict[str, bytes]) -> bool:
    """Whether the row is that of a session, and gone."""
    if table != "sessions":
        return False
    with outside(world.database) as db:
        sql = "SELECT 1 FROM sessions WHERE CAST(expires_at AS BLOB) = ?"
        return db.execute(sql, (stored["expires_at"],)).fetchone() is None


async def check(world: World, table: str, stored: dict[str, bytes]) -> None:
    """Check that a service whose file has these bytes in one row answers all requests, and that
    `verify` names the row if it is guarded."""
    for column, text in stored.items():
        write(world, table, column, text)
    async with running(world) as service:
        await every_answer_is_readable(service)
        if table in GUARDED and not stored.keys() <= UNGUARDED:
            # A session whose end such bytes put into the past was removed as an expired one.
            assert await service.named_by_verify() or _was_removed(world, table, stored), stored
        added = await service.client.post("/api/logs", json={"level": "INFO", "message": "m"})
        assert added.status_code == 201, stored
        claim = {"worker": "w", "count": 2}
        claimed = all_readable(await service.client.post("/api/agent-runs/claim", json=claim))
        assert 2 in {run["project_id"] for run in claimed["agent_runs"]}, stored
        for call in calls(service.app):
            if call.method != "GET" and call.template.startswith("/api/agent-runs/{"):
                names = dict.fromkeys(call.names, 1)
                all_readable(await send(service.client, call, names, project_id=1), call)
