"""Requests that wait, over real connections or in the same process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from backend.http.state import state_of
from backend.http.waiting.waits import Waits

PATIENCE = 30.0
"""Seconds after which an answer that does not come counts as missing."""
LONG = {"Prefer": "wait=60"}
APPLIED = "preference-applied"
CLAIM = "/api/agent-runs/claim"


def waits_of(app: FastAPI) -> Waits:
    """The application's waiting requests."""
    return state_of(app).waits


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.005)


class Asked:
    """A request that was sent, and whose answer may take a while."""

    def __init__(self, task: "asyncio.Task[httpx.Response]") -> None:
        self.task = task

    async def answer(self) -> httpx.Response:
        """Its answer, which must come."""
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(self.task)

    async def leave(self) -> None:
        """Close its connection."""
        self.task.cancel()
        await asyncio.wait([self.task])


class Clients:
    """Sends requests that wait, and lets none behind."""

    def __init__(self, app: FastAPI) -> None:
        self.waits = waits_of(app)
        self._asked: list[Asked] = []

    async def read(self, client: httpx.AsyncClient, path: str, tag: str, **headers: str) -> Asked:
        """A `GET` that waits for another answer than the one with this tag."""
        before = self.waits.open()["reads"]
        sent = {**LONG, "If-None-Match": tag, **headers}
        asked = self._send(client.get(path, headers=sent))
        await until(lambda: self.waits.open()["reads"] > before or asked.task.done())
        return asked

    async def claim(
        self, client: httpx.AsyncClient, worker: str = "w", headers: Any = None, **body: Any
    ) -> Asked:
        """A claim that waits for a run."""
        before = len(self.waits.line)
        asked = self._send(
            client.post(CLAIM, json={"worker": worker, **body}, headers={**LONG, **(headers or {})})
        )
        await until(lambda: len(self.waits.line) > before or asked.task.done())
        return asked

    def _send(self, sending: Any) -> Asked:
        asked = Asked(asyncio.get_running_loop().create_task(sending))
        self._asked.append(asked)
        return asked

    async def close(self) -> None:
        """Close the connections of all requests without an answer."""
        for asked in self._asked:
            await asked.leave()


@asynccontextmanager
async def clients_of(app: FastAPI) -> AsyncIterator[Clients]:
    """Clients whose requests have ended after the block."""
    clients = Clients(app)
    try:
        yield clients
    finally:
        await clients.close()


async def make_run(client: httpx.AsyncClient, project_id: int) -> int:
    """A new pending run. Returns its id."""
    body = {"project_id": project_id, "target_text": "t"}
    response = await client.post("/api/agent-runs", json=body)
    assert response.status_code == 201, response.text
    return int(response.json()["id"])


async def sign_in(browser: httpx.AsyncClient, token: str) -> dict[str, str]:
    """The headers of a browser with a session of the token."""
    own = {"Origin": str(browser.base_url).rstrip("/"), "X-Strongroom-Request": "1"}
    signed_in = await browser.post("/api/session", json={"token": token}, headers=own)
    assert signed_in.status_code == 204, signed_in.text
    return {**own, "Cookie": signed_in.headers["set-cookie"].partition(";")[0]}
