"""Every route gives the same answer, byte for byte, when FastAPI's own handler calls its
endpoint."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from backend.http.guarded_route import GuardedRoute
from backend.http.state import state_of
from backend.main import create_app
from config.settings import Settings
from tests.http.ways import Way, in_order
from tests.support.clients import client_of, token_of_first_start
from tests.support.resources import Resources


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
    routes = in_order()
    successes = 0
    for call in routes:
        direct, usual = [await way.answers(call) for way in ways]
        assert direct == usual, str(call)
        successes += any(status < 300 for status, _, _ in direct)
    # A heartbeat needs a lease, a delivery a signature, a session a token, a run that is cancelled
    # must not have ended, and one that is continued must be paused.
    assert successes >= len(routes) - 5
