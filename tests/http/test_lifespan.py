"""An application that is called before it runs, or on another event loop."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from fastapi import FastAPI

from backend.http.not_running import NotRunning
from backend.main import create_app
from config.settings import Settings
from database.errors import WrongEventLoop
from tests.support.clients import client_of, token_of_first_start
from tests.support.http import problem
from tests.support.resources import ABSENT, ABSENT_ID
from tests.support.routes import calls, send

LOCAL = "http://localhost"
ALIVE = ("/", "/health", "/docs", "/openapi.json")


async def refused_on_every_route(
    app: FastAPI, kind: type[Exception], told: str, headers: dict[str, str]
) -> None:
    """Each route that needs the service says what to do: in its answer, and in the error that the
    program gets."""
    async with (
        client_of(app, base_url=LOCAL) as caller,
        client_of(app, base_url=LOCAL, raising=True) as program,
    ):
        for call in calls(app):
            names = {name: ABSENT.get(name, ABSENT_ID) for name in call.names}
            response = await send(caller, call, names, headers=headers)
            if call.template in ALIVE:
                assert response.status_code == 200
                continue
            assert told in problem(response, "internal")["detail"], str(call)
            with pytest.raises(kind, match=told):
                await send(program, call, names, headers=headers)
        for path in ALIVE:
            assert (await caller.get(path)).status_code == 200


@pytest.mark.parametrize("auth", ["token", "off"])
async def test_without_its_lifespan_every_route_says_what_to_do(
    settings: Settings, auth: str
) -> None:
    app = create_app(settings.model_copy(update={"auth": auth}))
    await refused_on_every_route(app, NotRunning, "run its lifespan", {"Authorization": "Bearer x"})


def elsewhere(work: Callable[[], Awaitable[None]]) -> None:
    """Run the work on another event loop, in another thread."""
    failures: list[BaseException] = []

    def run() -> None:
        async def do() -> None:
            await work()

        try:
            asyncio.run(do())
        except BaseException as error:  # noqa: BLE001 - it is raised again, on the test's thread
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("auth", ["token", "off"])
async def test_on_another_event_loop_every_route_says_what_to_do(
    settings: Settings, auth: str
) -> None:
    app = create_app(settings.model_copy(update={"auth": auth}))
    async with app.router.lifespan_context(app):
        headers = {"Authorization": f"Bearer {token_of_first_start(settings)}"}
        elsewhere(
            lambda: refused_on_every_route(
                app, WrongEventLoop, "belongs to the event loop that opened it", headers
            )
        )
        # It still works on its own event loop.
        async with client_of(app, base_url=LOCAL) as caller:
            assert (await caller.get("/api/projects", headers=headers)).status_code == 200
