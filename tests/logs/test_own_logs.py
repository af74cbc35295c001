"""The service's own warnings and errors are stored in the table, and cause no further ones."""

import asyncio
import io
import json
import logging
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI

from backend.main import create_app
from backend.observability.log import configure_logging, get_logger
from backend.runtime.own_logs import OwnLogs
from backend.schemas.logs import LogEntry
from config.settings import Settings
from database.errors import DatabaseBusy, DatabaseError, DatabaseFull, InvalidValue
from tests.support.http import make_project, manager_of

Stored = Callable[[str], Awaitable[list[dict[str, Any]]]]

ours = get_logger("strongroom.test")


@pytest.fixture(autouse=True)
def lines() -> Iterator[io.StringIO]:
    """The lines that are logged from INFO up, as JSON. The process's logging is restored
    afterwards."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    configure_logging("INFO", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").propagate = True
    structlog.configure(**config)
    structlog.contextvars.clear_contextvars()


class Table:
    """Takes entries, or refuses them with the error that the test sets."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.error: DatabaseError | None = None
        self.calls = 0

    async def store(self, entries: Sequence[LogEntry]) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        self.entries += entries

    @property
    def messages(self) -> list[str]:
        return [entry.message for entry in self.entries]


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def own(table: Table) -> Iterator[OwnLogs]:
    """Own logs with room for five lines, started."""
    own = OwnLogs(table.store, limit=5)
    own.begin()
    yield own
    own.end()


async def test_warnings_and_errors_are_stored_and_other_lines_are_not(
    own: OwnLogs, table: Table
) -> None:
    ours.debug("no")
    ours.info("no")
    ours.warning("a warning")
    ours.error("an error")
    ours.critical("a critical one")
    await own.store_waiting()
    assert [(entry.level, entry.message) for entry in table.entries] == [
        ("WARNING", "a warning"),
        ("ERROR", "an error"),
        ("CRITICAL", "a critical one"),
    ]
    assert own.waiting == 0
    await own.store_waiting()
    assert table.calls == 1


async def test_a_line_keeps_what_it_carries(own: OwnLogs, table: Table) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1")
    try:
        raise LookupError
    except LookupError:
        ours.exception("it failed", job="prune", count=3, ratio=0.5, thing=object())
    await own.store_waiting()
    [entry] = table.entries
    assert entry.level == "ERROR"
    assert entry.component == "strongroom.test"
    assert entry.correlation_id == "r-1"
    assert (entry.project_id, entry.agent_run_id) == (None, None)
    context = json.loads(entry.context)
    assert context.pop("timestamp").endswith("Z")
    assert "LookupError" in context.pop("exception")
    assert context == {"job": "prune", "count": 3, "ratio": 0.5, "thing": "<object>"}


async def test_lines_of_other_packages_are_under_the_service(own: OwnLogs, table: Table) -> None:
    logging.getLogger("uvicorn.error").error("from %s", "elsewhere")
    logging.getLogger("strongroom.database").error("from the engine")
    await own.store_waiting()
    assert [(entry.component, entry.message) for entry in table.entries] == [
        ("strongroom.uvicorn.error", "from elsewhere"),
        ("strongroom.database", "from the engine"),
    ]


@pytest.mark.parametrize(
    ("event", "message"),
    [("", "(no text)"), ("x" * 20_000, "x" * 10_000), ("a\0b\ud800", "a\ufffdb?"), (7, "7")],
)
async def test_any_text_fits(own: OwnLogs, table: Table, event: Any, message: str) -> None:
    ours.warning(event)
    await own.store_waiting()
    assert table.messages == [message]


@pytest.mark.parametrize("value", ["x" * 70_000, "\ud800", [[["deep"] * 3] * 3] * 9000])
async def test_what_does_not_fit_leaves_the_rest(own: OwnLogs, table: Table, value: Any) -> None:
    try:
        raise LookupError("y" * 90_000)
    except LookupError as error:
        ours.error("too much", value=value, exc_info=error)
    await own.store_waiting()
    context = json.loads(table.entries[0].context)
    assert context["incomplete"] is True
    assert context["exception"].endswith("LookupError")
    assert "value" not in context


async def test_what_is_too_much_is_counted_and_told_once(
    own: OwnLogs, table: Table, lines: io.StringIO
) -> None:
    for number in range(8):
        ours.warning(f"line {number}")
    assert (own.waiting, own.dropped) == (5, 3)
    await own.store_waiting()
    assert table.messages == [f"line {number}" for number in range(5)]
    told = [line for line in map(json.loads, lines.getvalue().splitlines()) if "lines" in line]
    assert [(line["logger"], line["lines"]) for line in told] == [("strongroom.own_logs", 3)]
    ours.warning("again")
    await own.store_waiting()
    assert table.messages[-1] == "again"
    assert own.dropped == 3


async def test_what_strangers_cause_is_not_stored(own: OwnLogs, table: Table) -> None:
    get_logger("strongroom.connections").warning(
        "clients sent requests that this server does not serve"
    )
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    await own.store_waiting()
    assert table.entries == []


async def test_a_logger_has_so_many_lines_of_a_level_a_minute(table: Table) -> None:
    seconds = [0.0]
    own = OwnLogs(table.store, per_minute=3, clock=lambda: seconds[0])
    own.begin()
    for number in range(10):
        ours.error(f"it fails {number}")
        seconds[0] += 5
    ours.warning("another level")
    get_logger("strongroom.other").error("another logger")
    seconds[0] = 60
    ours.error("a minute later")
    own.end()
    await own.store_waiting()
    assert table.messages == [
        *("it fails 0", "it fails 1", "it fails 2"),
        *("another level", "another logger", "a minute later"),
    ]
    assert own.dropped == 7


@pytest.mark.parametrize("error", [DatabaseBusy(), DatabaseFull("full")])
async def test_while_the_database_is_busy_lines_wait(
    own: OwnLogs, table: Table, error: DatabaseError
) -> None:
    ours.warning("early")
    table.error = error
    for _ in range(20):
        await own.store_waiting()
    # The failures are logged, but not kept for storing: that would never end.
    assert own.waiting == 1
    table.error = None
    ours.warning("late")
    await own.store_waiting()
    assert table.messages == ["early", "late"]
    assert own.dropped == 0


async def test_what_the_database_refuses_is_dropped_and_counted(own: OwnLogs, table: Table) -> None:
    ours.warning("bad")
    table.error = InvalidValue("no")
    await own.store_waiting()
    assert (own.waiting, own.dropped) == (0, 1)
    table.error = None
    ours.warning("good")
    await own.store_waiting()
    assert table.messages == ["good"]


async def test_all_threads_may_log(table: Table) -> None:
    own = OwnLogs(table.store, limit=1500, per_minute=5000)
    own.begin()
    start = threading.Barrier(4)

    def shout() -> None:
        start.wait()
        for _ in range(500):
            ours.warning("from a thread")

    threads = [threading.Thread(target=shout) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    own.end()
    assert (own.waiting, own.dropped) == (1500, 500)
    await own.store_waiting()
    assert len(table.entries) == 1500


async def test_after_the_end_nothing_is_put_aside(own: OwnLogs) -> None:
    own.end()
    own.end()
    ours.warning("too late")
    assert own.waiting == 0


# The whole application


@pytest.fixture
def stored(application: FastAPI, client: httpx.AsyncClient) -> Stored:
    """Stores all waiting lines, and then asks for logs of the service."""

    async def ask(query: str) -> list[dict[str, Any]]:
        await application.state.runtime.own_logs.store_waiting()
        answer = await client.get(f"/api/logs?{query}")
        assert answer.status_code == 200
        logs: list[dict[str, Any]] = answer.json()["logs"]
        return logs

    return ask


async def test_an_unhandled_error_is_found_under_the_request_id(
    application: FastAPI, client: httpx.AsyncClient, stored: Stored
) -> None:
    project = await make_project(client, secrets=[{"key": "K", "value": "the-secret-value"}])
    pool = manager_of(application).async_pool
    await pool.execute("ALTER TABLE project_settings RENAME TO gone")
    path = f"/api/projects/{project['id']}/configuration"
    answer = await client.get(path, headers={"X-Request-ID": "find-me"})
    assert answer.status_code == 500
    [entry] = await stored("correlation_id=find-me")
    assert entry["level"] == "ERROR"
    assert entry["component"] == "strongroom.error"
    assert entry["message"] == "unhandled error"
    assert "no such table: project_settings" in entry["context"]["exception"]
    assert "the-secret-value" not in str(entry)
    assert entry["project_id"] is None


async def test_an_ordinary_request_stores_nothing(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    await make_project(client)
    assert (await client.get("/api/projects/999")).status_code == 404
    assert await stored("") == []


async def test_what_is_logged_while_it_stops_is_stored(
    settings: Settings, database_path: Path
) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        ours.warning("at the very end")
    with closing(sqlite3.connect(database_path)) as connection:
        rows = connection.execute("SELECT component, message FROM system_logs").fetchall()
    assert ("strongroom.test", "at the very end") in rows
    ours.warning("after it")
    assert app.state.runtime.own_logs.waiting == 0
