"""Every GET with an ETag waits, and hears of every change of its answer. Routes and changes are
found in the OpenAPI document."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.http.state import state_of
from backend.main import create_app
from backend.routes import POLICIES
from config.settings import Settings
from tests.support.clients import client_of, token_of_first_start
from tests.support.resources import Resources
from tests.support.routes import Call, all_calls, send
from tests.waiting.waiting import APPLIED, LONG, PATIENCE, until, waits_of

CALLS = list(all_calls())
READS = [
    (call, query)
    for call in CALLS
    if call.method == "GET" and "304" in call.responses
    for query in ({}, *({"include": n} for n in POLICIES[call.method, call.template].includes))
]
# Those that would end the test's own token.
CHANGES = [
    call
    for call in CALLS
    if call.method != "GET" and not call.template.startswith(("/api/session", "/api/tokens/{"))
]
PURGE = next(call for call in CHANGES if str(call) == "DELETE /api/projects/{project_id}")


@pytest.fixture(params=[True, False], ids=["direct", "through FastAPI"])
async def app(request: pytest.FixtureRequest, installed: Settings) -> AsyncIterator[FastAPI]:
    """The application, with direct calls and kept answers, and without both."""
    app = create_app(installed, direct=request.param)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app` with the admin's token."""
    token = token_of_first_start(state_of(app).settings)
    async with client_of(app, token) as client:
        yield client


async def present(
    client: httpx.AsyncClient, call: Call, names: Any, query: dict[str, str]
) -> tuple[int, str | None]:
    """The status and the tag of the present answer."""
    answer = await send(client, call, names, params=query)
    return answer.status_code, answer.headers.get("ETag")


def test_the_document_tells_where_a_client_can_wait() -> None:
    assert len(READS) > 18
    reads = [call for call, _ in READS]
    for call in CALLS:
        waits = call in reads or call.template == "/api/agent-runs/claim"
        headers = {parameter["name"] for parameter in call.parameters("header")}
        assert ("Prefer" in headers) is waits, str(call)
        for status in ("200", "204", "304"):
            if status in call.responses:
                shown = call.responses[status].get("headers", {})
                assert ("Preference-Applied" in shown) is waits, str(call)


async def unheard(
    app: FastAPI,
    client: httpx.AsyncClient,
    change: Call,
    names: dict[str, Any],
    params: dict[str, str] | None = None,
) -> tuple[bool, list[str]]:
    """Whether a change succeeded, and the reads whose answers it has changed, and which wait on."""
    known: list[tuple[Call, dict[str, str], tuple[int, str | None]]] = []
    for call, query in READS:
        status, tag = await present(client, call, names, query)
        assert status == 200, str(call)
        known.append((call, query, (status, tag)))
    tasks = [
        asyncio.create_task(
            send(
                client,
                call,
                names,
                params=query,
                headers={**LONG, "If-None-Match": str(tag)},
            )
        )
        for call, query, (_, tag) in known
    ]
    missing = []
    try:
        await until(lambda: waits_of(app).open()["reads"] == len(READS))
        changed = await send(client, change, names, params=params)
        for (call, query, before), task in zip(known, tasks, strict=True):
            if await present(client, call, names, query) == before:
                continue
            await asyncio.wait([task], timeout=PATIENCE)
            if not task.done():
                missing.append(f"{call} {query}")
                continue
            answer = task.result()
            assert (answer.status_code, answer.headers.get("ETag")) != before
            assert answer.status_code != 200 or answer.headers[APPLIED] == "wait=60"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    await until(lambda: waits_of(app).open()["reads"] == 0)
    return changed.is_success, missing


async def test_every_read_hears_that_what_it_shows_has_gone(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    names = await Resources(client).all()
    done, missing = await unheard(app, client, PURGE, names, {"purge": "true"})
    assert done
    assert missing == []


@pytest.mark.long
@pytest.mark.parametrize("app", [True], indirect=True, ids=["direct"])
async def test_every_change_is_heard_by_every_read_that_shows_it(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    succeeded = 0
    for change in CHANGES:
        names = await Resources(client).all()
        done, missing = await unheard(app, client, change, names)
        assert missing == [], str(change)
        succeeded += done
        # What the change has left behind would be in the way of the next one.
        await send(client, PURGE, names, params={"purge": "true"})
    assert succeeded > 25
