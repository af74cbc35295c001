"""Every route of the route table, with values that must appear nowhere else.

A secret value, or a value in an unexpected place, is in no answer, no file, no log and no metric. A
value that may be stored and read is still in no log, no metric and no refusal.
"""

import copy
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from backend.routes import POLICIES
from config.settings import Settings
from tests.http.sentinels import Sentinels, files_in
from tests.support.clients import async_client_at
from tests.support.http import JSON
from tests.support.processes import Serving, environment, run
from tests.support.resources import Resources
from tests.support.routes import Call, calls, send

SECRET_FIELDS = {"dotenv", "secret_token", "value"}
OTHER_CORE = "~'\u00fc\U0001f5dd\\w5Q/~\U0001f5dd"
REVEALING = {
    "/api/projects/{project_id}/secrets/reveal",
    "/api/projects/{project_id}/secrets/{key}/value",
    "/api/projects/{project_id}/secrets/{key}/versions/{version}/value",
}
PLANTED = "PLANTED"
NOT_DONE = {
    # Its body is signed; `Resources` has sent one delivery.
    ("POST", "/api/webhooks/{webhook_id}/deliveries/github"),
    # It takes a token, and the planted value is none.
    ("POST", "/api/session"),
    # When it is called, the run has no lease.
    ("POST", "/api/agent-runs/{run_id}/heartbeat"),
}
"""The routes that are only refused in this test."""
ENDINGS = {
    ("POST", "/api/agent-runs/{run_id}/cancel"),
    ("POST", "/api/agent-runs/{run_id}/transitions"),
}
"""Of these, the one that ends the run succeeds: which, depends on the run's status by then."""


def leaves(body: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all texts in a body."""
    if isinstance(body, str):
        yield path
    elif isinstance(body, dict | list):
        items: Any = body.items() if isinstance(body, dict) else enumerate(body)
        for name, value in items:
            yield from leaves(value, (*path, name))


def changed(body: Any, path: tuple[str | int, ...], value: str) -> Any:
    """The body with another text in this place."""
    if not path:
        return value
    result = copy.deepcopy(body)
    place = result
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return result


class Tour:
    """Visits all routes, and keeps the answers and the values that were sent."""

    def __init__(self, client: httpx.AsyncClient, names: dict[str, Any]) -> None:
        self._client = client
        self._names = names
        self.hidden = Sentinels()
        """Values that must be found nowhere."""
        self.stored = Sentinels(OTHER_CORE)
        """Values that may be in the database and in successful answers, if they were accepted."""
        self.refused: list[str] = []
        """The places of those values that were not accepted."""
        self.visited: set[tuple[str, str]] = set()
        self.answered: set[tuple[str, str]] = set()
        """The routes that succeeded at least once."""
        self.answers = bytearray()

    async def plant(self) -> None:
        """Store secrets that any later answer could reveal."""
        project = self._names["project_id"]
        path = f"/api/projects/{project}/secrets/{PLANTED}"
        await self._client.put(path, json={"value": self.hidden.new("planted secret")})
        token = {"secret_token": self.hidden.new("planted token")}
        webhook = self._names["webhook_id"]
        assert (await self._client.patch(f"/api/webhooks/{webhook}", json=token)).is_success
        assert (
            self.hidden.given["planted secret"]
            == (await self._client.get(f"{path}/value")).json()["value"]
        )

    async def pause_a_run(self) -> None:
        """Visit a paused run from now on."""
        body = {"project_id": self._names["project_id"], "target_text": "t"}
        run_id = (await self._client.post("/api/agent-runs", json=body)).json()["id"]
        for status in ("running", "paused"):
            path = f"/api/agent-runs/{run_id}/transitions"
            assert (await self._client.post(path, json={"to": status})).is_success
        self._names = self._names | {"run_id": run_id}

    async def visit(self, call: Call) -> None:
        """Send every possible value to this route."""
        new = self.hidden.new
        self.visited.add((call.method, call.template))
        self._keep(call, await send(self._client, call, self._names))
        for name in call.names:
            names = self._names | {name: quote(new(f"{call} path {name}"), safe="")}
            self._keep(call, await send(self._client, call, names))
        for name in (*sorted(call.query), "unknown"):
            params = {name: new(f"{call} query {name}")}
            self._keep(call, await send(self._client, call, self._names, params=params))
        for header in ("X-Request-ID", "Cookie", "User-Agent", "Content-Type", "Accept-Encoding"):
            headers = {header: quote(new(f"{call} header {header}"))}
            self._keep(call, await send(self._client, call, self._names, headers=headers))
        token = quote(new(f"{call} token"))
        self._keep(call, await send(self._client, call, self._names, token=token))
        await self._visit_with_bodies(call)

    async def _visit_with_bodies(self, call: Call) -> None:
        new = self.hidden.new
        path = call.template.format(**self._names)
        raw = new(f"{call} no JSON").encode()
        headers = call.headers | JSON
        request = self._client.build_request(call.method, path, content=raw, headers=headers)
        self._keep(call, await self._client.send(request))
        if call.body is None:
            return
        bodies: list[tuple[str, Any]] = []
        for place in leaves(call.body):
            name = f"{call} body {place}"
            is_secret = not SECRET_FIELDS.isdisjoint(place)
            value = (self.hidden if is_secret else self.stored).new(name)
            bodies.append(("" if is_secret else name, changed(call.body, place, value)))
        if isinstance(call.body, dict):
            bodies.append(("", {**call.body, "unknown": new(f"{call} unknown field")}))
            bodies.append(("", {**call.body, new(f"{call} unknown name"): 1}))
        for name, body in bodies:
            content = json.dumps(body).encode()
            response = await self._client.request(
                call.method, path, content=content, headers=call.headers | JSON
            )
            self._keep(call, response)
            if name and not response.is_success:
                self.refused.append(name)
                assert self.stored.found_in(response.content) == [], name

    def _keep(self, call: Call, response: httpx.Response) -> None:
        assert response.status_code != 500, str(call)
        if response.is_success:
            self.answered.add((call.method, call.template))
        for name, value in response.headers.raw:
            self.answers += name + b": " + value + b"\n"
        if not (call.template in REVEALING and response.is_success):
            self.answers += response.content + b"\n"


@pytest.fixture
def described(no_settings: None) -> FastAPI:  # noqa: ARG001
    """The application, for its OpenAPI document."""
    return create_app(Settings(_env_file=None))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A process that logs as much as possible."""
    settings = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json", "FAILED_ATTEMPTS_PER_MINUTE": "0"}
    with Serving(tmp_path / "data", env=environment(**settings)) as serving:
        yield serving


@pytest.fixture
async def client(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin token."""
    async with async_client_at(serving.url, serving.token) as client:
        yield client


async def test_no_route_puts_a_value_anywhere(
    serving: Serving, client: httpx.AsyncClient, described: FastAPI, tmp_path: Path
) -> None:
    names = await Resources(client).all() | {"key": PLANTED}
    tour = Tour(client, names)
    await tour.plant()
    # Deletions come last, and the deletion of the project after all others.
    routes = sorted(
        calls(described),
        key=lambda call: (
            (call.method == "DELETE") + (str(call) == "DELETE /api/projects/{project_id}")
        ),
    )
    for call in routes:
        if call.template.endswith("/continue"):
            await tour.pause_a_run()
        await tour.visit(call)
    assert tour.visited == POLICIES.keys()
    left = tour.visited - tour.answered
    assert left - ENDINGS == NOT_DONE
    assert len(left & ENDINGS) == 1
    metrics = (await client.get("/metrics")).content
    copied = run("backup", tmp_path / "copy.db", "--data-dir", serving.directory, cwd=tmp_path)
    assert copied.status == 0, copied.err
    files = {f"{name} while serving": data for name, data in files_in(serving.directory)}
    assert {"strongroom.db-wal while serving", "strongroom.db-shm while serving"} <= files.keys()
    assert serving.end() == 0
    files |= dict(files_in(serving.directory)) | {"backup": (tmp_path / "copy.db").read_bytes()}
    said = serving.err.encode() + "\n".join(serving.lines).encode() + copied.err.encode()
    assert said.count(b'"event":"request"') > len(routes) * 5
    assert len(tour.hidden.given) > 500
    for name, data in {
        **files,
        "answers": bytes(tour.answers),
        "metrics": metrics,
        "said": said,
    }.items():
        assert tour.hidden.found_in(data) == [], name
    for name, data in (("metrics", metrics), ("said", said)):
        assert tour.stored.found_in(data) == [], name
    assert tour.stored.found_in(files["backup"]), "what may be stored would be found"
    # A refusal has no effect, so its values are not stored.
    assert len(tour.refused) > 10
    written = [json.dumps(tour.stored.given[place])[1:-1].encode() for place in tour.refused]
    written += [tour.stored.given[place].encode() for place in tour.refused]
    for name, data in files.items():
        assert [value for value in written if value in data] == [], name
