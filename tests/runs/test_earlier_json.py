"""After an upgrade, JSON that earlier versions stored reads the same in all answers."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

import models
from database.json_texts import same_json, write_json
from database.migrator import migrate
from tests.database.rows import insert, upgraded_to
from tests.runs.test_json_fields import one_text, texts
from tests.support.http import JSON
from tests.support.json_objects import VALUES

REWRITE_STORED_JSON = 9
EARLIER = {
    '{"a":1e-07,"b":[1.5e-05,-2.25e-09]}': '{"a":1e-7,"b":[0.000015,-2.25e-9]}',
    # No released version writes these; other programs may.
    '{"a":1e400,"b":-1E+999}': '{"a":"1e400","b":"-1E+999"}',
    '{"a":1e-400,"b":-0}': '{"a":0.0,"b":-0.0}',
    '{"a":0.1234567890123456789,"b":123456789012345678.0}': (
        '{"a":0.12345678901234568,"b":1.2345678901234568e+17}'
    ),
    '{"a":1,"b":2,"a":{"c":1,"c":3.0}}': '{"a":{"c":3.0},"b":2}',
    ' { "a" : [ 1 , 1E5, "\\u00e9\\/" ] } ': '{"a":[1,100000.0,"é/"]}',
    '{"a":' + "9" * 5000 + "}": '{"a":"' + "9" * 5000 + '"}',
    '{"a":"\\ud83d","b":"\\ud83d\\udd11"}': '{"a":"\ufffd","b":"\U0001f511"}',
    '{"1e-07":"\\"1e-07\\" 1e-05"}': '{"1e-07":"\\"1e-07\\" 1e-05"}',
}
COLUMNS = {
    "agent_runs": ["metadata"],
    "pipeline_states": ["metadata"],
    "test_results": ["result_data"],
    "grainchain_snapshots": ["config", "validation_results"],
    "system_logs": ["context"],
}
"""The columns with clients' JSON; all other stored JSON is lists of names and ids."""


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    """A database of an earlier version with each of `EARLIER` in each of these columns."""
    path = tmp_path / "strongroom.db"
    with upgraded_to(path, REWRITE_STORED_JSON - 1) as connection:
        insert(connection, "projects")
        insert(connection, "run_queues", last_run_number=len(EARLIER))
        for number, text in enumerate(EARLIER, 1):
            insert(connection, "agent_runs", run_number=number, metadata=text)
            for table, columns in list(COLUMNS.items())[1:]:
                row = dict.fromkeys(columns, text)
                insert(connection, table, **{**row, "agent_run_id": number})
    return path


async def test_lists_and_get_write_earlier_json_the_same(client: httpx.AsyncClient) -> None:
    listed = texts((await client.get("/api/agent-runs?limit=500")).content)["agent_runs"]
    logs = texts((await client.get("/api/logs?limit=500")).content)["logs"]
    for number, expected in enumerate(EARLIER.values(), 1):
        path = f"/api/agent-runs/{number}"
        found = [texts((await client.get(path)).content)["metadata"]]
        found += [listed[-number]["metadata"], logs[-number]["context"]]
        history = texts((await client.get(f"{path}/pipeline-states")).content)
        found += [history["agent_run"]["metadata"], history["pipeline_states"][0]["metadata"]]
        results = texts((await client.get(f"{path}/test-results")).content)["test_results"]
        found += [results[0]["result_data"]]
        snapshots = texts((await client.get(f"{path}/snapshots")).content)["snapshots"]
        snapshots += [texts((await client.get(f"/api/snapshots/{snapshots[0]['id'][1]}")).content)]
        found += [snapshot[name] for snapshot in snapshots for name in ("config",)]
        found += [snapshot["validation_results"] for snapshot in snapshots]
        assert one_text(found) == texts(expected.encode())


async def test_earlier_json_can_be_sent_back_and_is_unchanged(client: httpx.AsyncClient) -> None:
    for number in range(1, len(EARLIER) + 1):
        for path in (f"/api/agent-runs/{number}", f"/api/snapshots/{number}"):
            read = await client.get(path)
            answer = await client.patch(path, content=read.content, headers=JSON)
            assert answer.status_code == 200, answer.text
            assert answer.content == read.content


def test_every_column_of_any_json_is_rewritten(database_path: Path) -> None:
    any_object = get_args(models.JsonObject)[0]
    fields = [
        name
        for entity in vars(models).values()
        if isinstance(entity, type) and issubclass(entity, models.BaseDBModel)
        for name, field in entity.model_fields.items()
        if any_object in (field.annotation, *get_args(field.annotation))
        or models.JsonObject in get_args(field.annotation)
    ]
    assert sorted(fields) == sorted(name for names in COLUMNS.values() for name in names)
    with closing(sqlite3.connect(database_path, isolation_level=None)) as connection:
        migrate(connection)
        for table, columns in COLUMNS.items():
            for column in columns:
                rows = connection.execute(f"SELECT {column} FROM {table} ORDER BY id")  # noqa: S608
                assert [row[0] for row in rows] == list(EARLIER.values()), table


def test_a_text_that_would_be_too_long_stays_and_stops_no_upgrade(tmp_path: Path) -> None:
    longest = '{"a":[' + ",".join(["1e-05"] * 10_921) + "]}"
    assert len(longest) <= 65_536 < len(same_json(longest))
    with upgraded_to(tmp_path / "earlier.db", REWRITE_STORED_JSON - 1) as connection:
        insert(connection, "projects")
        for number, text in enumerate((longest, '{"a":1e-05}'), 1):
            insert(connection, "agent_runs", run_number=number, metadata=text)
        migrate(connection)
        rows = connection.execute("SELECT metadata FROM agent_runs ORDER BY id").fetchall()
    assert rows == [(longest,), ('{"a":0.00001}',)]


@given(VALUES)
def test_json_is_written_as_answers_write_it(value: Any) -> None:
    text = write_json(value)
    assert text.encode() == to_json(value)
    assert same_json(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_written_as_answers_write_it(value: float) -> None:
    assert write_json([value]).encode() == to_json([value])


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_is_rewritten_is_read_and_written_as_it_stands(
    value: Any, indent: int | None, is_ascii: bool
) -> None:
    text = same_json(json.dumps(value, indent=indent, ensure_ascii=is_ascii))
    assert to_json(from_json(text)).decode() == text == write_json(value)


@pytest.mark.parametrize("text", ["", "{", "nothing", '{"a":}', "[" * 5000])
def test_what_is_no_json_stays(text: str) -> None:
    assert same_json(text) == text
