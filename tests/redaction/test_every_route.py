"""Every route that takes a text that is redacted: found by the names of its fields."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
from fastapi import FastAPI

from tests.redaction.encodings import KEY, MARKER
from tests.results.support import XML, make_run
from tests.support.http import manager_of
from tests.support.resources import Resources
from tests.support.routes import Call, calls

VALUE = "hunter2hunter2"
NAMES = {"message", "context", "content", "result", "error_message", "metadata", "result_data"}
"""What redacted texts are called, in requests and in tables."""
NOT_REDACTED = {
    # The states of a snapshot are those of another service.
    ("POST", "/api/agent-runs/{run_id}/snapshots"),
    ("PATCH", "/api/snapshots/{snapshot_id}"),
    "grainchain_snapshots",
}
"""The routes and tables that have texts of these names, and are not named in docs/redaction.md."""


def bodies(call: Call) -> Iterator[dict[str, Any]]:
    """Bodies for the call with the value in each field of these names."""
    properties = call.body_schema.get("properties", {})
    for name in sorted(NAMES & properties.keys()):
        kinds = str(properties[name])
        body = {**call.body, name: {"a": VALUE} if "'object'" in kinds else f"it is {VALUE}"}
        if "project_id" in properties:
            body["project_id"] = 1
        if "to" in properties:
            body["to"] = "failed"
        yield body


async def test_no_route_stores_a_value(client: httpx.AsyncClient, application: FastAPI) -> None:
    names = await Resources(client).all()
    assert names["project_id"] == 1
    secret = {"key": KEY, "value": VALUE}
    assert (await client.post("/api/projects/1/secrets", json=secret)).is_success
    sent = set()
    for call in calls(application):
        route = call.method, call.template
        if call.body is None or route in NOT_REDACTED:
            continue
        for body in bodies(call):
            run = await make_run(client, 1)
            if call.template.endswith("/continue"):
                for status in ("running", "paused"):
                    to = f"/api/agent-runs/{run['id']}/transitions"
                    assert (await client.post(to, json={"to": status})).is_success
            path = call.template.format(**(names | {"run_id": run["id"]}))
            response = await client.request(call.method, path, json=body)
            assert response.is_success, (str(call), response.text)
            assert VALUE not in response.text, str(call)
            sent.add(call.template)
    run = await make_run(client, 1)
    file = f"<testsuite><testcase name='t'><failure>{VALUE}</failure></testcase></testsuite>"
    path = f"/api/agent-runs/{run['id']}/test-results"
    assert (await client.post(path, content=file, headers=XML)).is_success
    assert len(sent) >= 7
    _require_markers(application)


def _require_markers(application: FastAPI) -> None:
    """Each column of these names has a marker, and no text of any table has the value."""
    manager = manager_of(application)
    tables = manager.execute_query("SELECT name FROM sqlite_master WHERE type = 'table'")
    for table in (table["name"] for table in tables):
        info = manager.execute_query(f"PRAGMA table_info({table})")
        columns = {column["name"] for column in info}
        rows = str(manager.execute_query(f"SELECT * FROM {table}"))  # noqa: S608 - from the schema
        assert VALUE not in rows, table
        if re.fullmatch(r"\w*_(data|idx|docsize|config|content)", table):
            # Those of an index.
            continue
        for column in NAMES & columns if table not in NOT_REDACTED else ():
            found = manager.execute_query(f"SELECT {column} AS text FROM {table}")  # noqa: S608
            assert any(MARKER in str(row["text"]) for row in found), (table, column)
