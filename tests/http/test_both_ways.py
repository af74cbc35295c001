"""Every route gives the same answer, byte for byte, when FastAPI's own handler calls its
endpoint."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.http.guarded_route import GuardedRoute
from backend.http.state import state_of
from backend.main import create_app
from config.settings import Settings
from tests.support.clients import client_of, token_of_first_start
from tests.support.resources import ABSENT, ABSENT_ID, Resources
from tests.support.routes import Call, calls_of, document, send

CHANGING = re.compile(
    r"""
    \d{4}-\d\d-\d\dT[\d:.]+Z | \d{8}T[\d.]+Z | "duration_seconds":[\d.]+
    | "request_id":"[^"]+" | "lease_token":"[^"]+" | sr_\w+ | [0-9a-f]{64}
    # The numbers of the metrics.
    | ^(\w+(?:\{.*\})?)[ ][\d.e+-]+$
    """,
    re.VERBOSE | re.MULTILINE,
)
"""Times and random values."""
NO_BODIES = (b"", b"{", b"[]", b'{"unknown": 1}')
MADE_LAST = ("DELETE", "/api/projects/{project_id}")


class Way:
    """An application with its own data, and one of everything in it."""

    def __init__(self, client: httpx.AsyncClient, names: dict[str, Any]) -> None:
        self._client = client
        self._names = names

    async def answers(self, call: Call) -> list[Any]:
        """The route's answers to requests of every kind, without the parts that always differ."""
        queries: list[dict[str, str]] = [{"unknown": "1"}, {}]
        if call.query:
            queries.append(dict.fromkeys(call.query, "0x"))
        responses = [
            await send(self._client, call, self._names, params=params) for params in queries
        ]
        if call.names:
            absent = {name: ABSENT.get(name, ABSENT_ID) for name in call.names}
            wrong = dict.fromkeys(call.names, "0x")
            responses += [await send(self._client, call, names) for names in (absent, wrong)]
        path = call.template.format(**self._names)
        headers = call.headers | {"Content-Type": "application/json"}
        for content in NO_BODIES if call.body is not None else ():
            responses.append(
                await self._client.request(call.method, path, content=content, headers=headers)
            )
        if call.method == "GET":
            responses.append(await self._client.head(path))
        return [self._seen(response) for response in responses]

    def _seen(self, response: httpx.Response) -> Any:
        request_id = response.headers["x-request-id"]
        text = response.text.replace(request_id, "")
        # The length includes the parts that are left out of the text, so only its presence is
        # compared.
        headers = [
            (name, "" if name in ("content-length", "x-request-id") else value)
            for name, value in response.headers.multi_items()
        ]
        return response.status_code, headers, CHANGING.sub(r"\1", text)


async def way(stack: AsyncExitStack, settings: Settings, *, direct: bool) -> Way:
    """An application that calls endpoints directly or through FastAPI."""
    app = create_app(settings, direct=direct)
    kinds = [
        route.direct is not None for route in app.router.routes if isinstance(route, GuardedRoute)
    ]
    assert any(kinds) is direct
    await stack.enter_async_context(app.router.lifespan_context(app))
    # Background work would run at different times.
    await state_of(app).installation.background.stop()
    client = client_of(app, token_of_first_start(settings), base_url="http://localhost")
    await stack.enter_async_context(client)
    return Way(client, await Resources(client).all())


@pytest.fixture
async def ways(
    settings: Settings, database_template: Path, tmp_path: Path
) -> AsyncIterator[tuple[Way, Way]]:
    """An application with direct calls and one with FastAPI's, each with its own data."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(database_template, other / database_template.name)
    async with AsyncExitStack() as stack:
        direct = await way(stack, settings, direct=True)
        elsewhere = settings.model_copy(update={"data_dir": other})
        yield direct, await way(stack, elsewhere, direct=False)


async def test_every_route_answers_the_same_through_fastapi(ways: tuple[Way, Way]) -> None:
    # Deletions come last, and the deletion of the project after all others.
    routes = sorted(
        calls_of(document()),
        key=lambda call: (call.method == "DELETE") + ((call.method, call.template) == MADE_LAST),
    )
    successes = 0
    for call in routes:
        direct, usual = [await way.answers(call) for way in ways]
        assert direct == usual, str(call)
        successes += any(status < 300 for status, _, _ in direct)
    # A heartbeat needs a lease, a delivery a signature, and the cancelled run has ended.
    assert successes >= len(routes) - 3
