"""The cost of the parts of one request, in microseconds, in one process and without a network.

The whole is a call of the application as uvicorn makes it. Each part is then run on its own, often
enough to be timed. The rest is the time of FastAPI, the event loop and the glue between the parts.
Figures are the best of some rounds, because other load on the machine only adds to them.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from copy import copy as shallow
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import uvloop
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.routing import BaseRoute, Match

from backend.http.edge import Edge
from backend.http.metrics import RequestMetrics
from backend.http.state import state_of
from backend.http.strict_json import parse_json
from backend.main import create_app
from backend.observability.log import configure_logging
from backend.schemas.logs import LogEntry
from backend.schemas.projects import ProjectCreate
from backend.schemas.secrets import SecretsUpsert
from backend.services.database_service import DatabaseService
from bench.asgi import Call, answer_nothing, call
from bench.timed_sqlite import TimedConnection, timed_copy
from bench.workloads import LOG_BODY, SECRETS_BODY, project_body
from config.loading import load_settings
from database.sqlite.journal import Journal
from database.sqlite.transaction import InlineTransaction, drive, write_entries

WAITING = 64
SEEDED = 60
UNITS = 20
"""The number of units of work in one COMMIT when their parts are timed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request, and its parts below HTTP."""

    name: str
    make: Callable[[], Call]
    use_case: Callable[[DatabaseService, Any], Coroutine[Any, Any, Any]]
    """Awaits only statements when it runs inside a unit of work."""
    argument: Callable[[], Any] = lambda: None
    """Makes the argument of the use case, before the timing starts."""
    shape: type[BaseModel] | None = None
    """The model that validates its body."""
    writes: bool = False


class Parts:
    """Times the parts of requests to a running application."""

    def __init__(self, app: FastAPI, token: str, copy: TimedConnection, rounds: int) -> None:
        self._app = app
        self._service = state_of(app).installation.service
        self._token = token
        self._copy = copy
        kit = shallow(self._service.kit)
        # Single reads would go to the pool; here they go to the copy.
        kit.repositories = kit.repositories.using(InlineTransaction(copy))
        self._bound = DatabaseService(kit)
        self._journal = Journal(kit.audit.write)
        self._rounds = rounds

    async def measure(self, kind: Kind) -> dict[str, float]:
        """Microseconds by part. `rest` is the time that no named part takes."""
        sample = kind.make()
        routes = self._app.router.routes
        edge = Edge(answer_nothing, max_body_bytes=2**20, metrics=RequestMetrics())
        parts = {
            "request id, metrics, access line": await self._awaited(
                lambda: call(edge, sample), times=300
            ),
            "routing": self._called(lambda: _route_of(routes, sample)),
            "authentication": await self._awaited(
                lambda: self._service.tokens.authenticate(self._token), times=500
            ),
        }
        if kind.shape is not None:
            shape, body = kind.shape, sample.body
            value = parse_json(body)
            parts["strict JSON"] = self._called(lambda: parse_json(body))
            parts["validation"] = self._called(lambda: shape.model_validate(value))
        pool = self._service.db_manager.async_pool
        if kind.writes:
            # Nothing is written, so only the hop to the thread and back is timed.
            parts["queue and thread"] = await self._awaited(
                lambda: pool.run_unit(_nothing), times=200
            )
        else:
            parts["queue and thread"] = await self._awaited(
                lambda: pool.run_read(_nothing_read), times=200
            )
        parts.update(self._below_http(kind))
        result = await kind.use_case(self._service, kind.argument())
        if isinstance(result, BaseModel):
            parts["serialising"] = self._called(result.__pydantic_serializer__.to_json, result)
        kept = state_of(self._app).kept
        kept.stop()
        whole, at_once = await self._whole(kind)
        kept.start(self._service.kit.shown_versions)
        parts["rest (FastAPI, event loop)"] = whole - sum(parts.values())
        parts["whole, alone"] = whole
        parts["whole, 64 at once"] = at_once
        if not kind.writes:
            _, parts["whole, 64 at once, from kept answers"] = await self._whole(kind)
        return parts

    async def _whole(self, kind: Kind) -> tuple[float, float]:
        """Microseconds of one request alone, and of each of 64 concurrent requests."""
        return (
            await self._awaited(lambda: call(self._app, kind.make()), times=100),
            await self._at_once(lambda: call(self._app, kind.make())),
        )

    def _below_http(self, kind: Kind) -> dict[str, float]:
        """SQLite's own time, the Python around it, and one COMMIT, on this thread."""
        best: dict[str, float] = {}
        for _ in range(self._rounds):
            self._copy.execute("BEGIN IMMEDIATE" if kind.writes else "BEGIN").close()
            arguments = [kind.argument() for _ in range(UNITS)]
            self._copy.seconds = 0.0
            began = time.perf_counter()
            for argument in arguments:
                self._run(kind, argument)
            write_entries(self._journal, self._copy)
            taken = time.perf_counter() - began
            sqlite = self._copy.seconds
            self._copy.execute("COMMIT").close()
            found = {
                "SQLite": sqlite / UNITS,
                "use case and models": (taken - sqlite) / UNITS,
            }
            if kind.writes:
                found["COMMIT (shared by all that wait)"] = self._commit(kind)
            for name, seconds in found.items():
                best[name] = min(best.get(name, float("inf")), seconds * 1_000_000)
        return best

    def _run(self, kind: Kind, argument: Any) -> None:
        drive(partial(kind.use_case, self._bound, argument), self._copy, journal=self._journal)

    def _commit(self, kind: Kind) -> float:
        """Seconds for the COMMIT of one unit of work."""
        self._copy.execute("BEGIN IMMEDIATE").close()
        self._run(kind, kind.argument())
        write_entries(self._journal, self._copy)
        began = time.perf_counter()
        self._copy.execute("COMMIT").close()
        return time.perf_counter() - began

    def _called(self, function: Callable[..., object], *arguments: object) -> float:
        """Microseconds of one call."""
        best = float("inf")
        for _ in range(self._rounds):
            began = time.perf_counter()
            for _ in range(500):
                function(*arguments)
            best = min(best, (time.perf_counter() - began) / 500)
        return best * 1_000_000

    async def _awaited(self, make: Callable[[], Awaitable[object]], *, times: int) -> float:
        """Microseconds of one await, in sequence."""
        best = float("inf")
        for _ in range(self._rounds):
            began = time.perf_counter()
            for _ in range(times):
                await make()
            best = min(best, (time.perf_counter() - began) / times)
        return best * 1_000_000

    async def _at_once(self, make: Callable[[], Awaitable[object]], times: int = 1000) -> float:
        """Microseconds for each await with 64 of them at once."""
        best = float("inf")
        for _ in range(self._rounds):
            left = iter(range(times))
            began = time.perf_counter()
            await asyncio.gather(*(_take(left, make) for _ in range(WAITING)))
            best = min(best, (time.perf_counter() - began) / times)
        return best * 1_000_000


async def _take(left: Iterator[int], make: Callable[[], Awaitable[object]]) -> None:
    for _ in left:
        await make()


async def _nothing() -> None:
    """A unit of work without a statement."""


def _nothing_read(_: sqlite3.Connection) -> None:
    """A read without a statement."""


def _route_of(routes: list[BaseRoute], sample: Call) -> BaseRoute:
    scope = sample.scope()
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            return route
    raise LookupError(sample.path)


def kinds(token: str) -> list[Kind]:
    """The kinds of requests whose parts are timed."""
    numbers = count(1_000_000)

    def new_project() -> ProjectCreate:
        return ProjectCreate.model_validate(project_body(next(numbers)))

    def new_secrets() -> SecretsUpsert:
        number = next(numbers)
        secrets = [{**secret, "value": f"value {number}"} for secret in SECRETS_BODY["secrets"]]
        return SecretsUpsert.model_validate({"secrets": secrets})

    def secrets_call() -> Call:
        secrets = [s | {"value": f"{next(numbers)}"} for s in SECRETS_BODY["secrets"]]
        return Call("PUT", "/api/projects/5/secrets", token, {"secrets": secrets})

    return [
        Kind(
            "read one project",
            lambda: Call("GET", "/api/projects/5", token),
            lambda service, _: service.projects.get_json(5),
        ),
        Kind(
            "list of 50",
            lambda: Call("GET", "/api/projects", token),
            lambda service, _: service.projects.page_json(),
        ),
        Kind(
            "full configuration",
            lambda: Call("GET", "/api/projects/5/full", token),
            lambda service, _: service.projects.get_full_json(5),
        ),
        Kind(
            "create project, settings, secret",
            lambda: Call("POST", "/api/projects", token, project_body(next(numbers))),
            lambda service, project: service.projects.create(project),
            new_project,
            shape=ProjectCreate,
            writes=True,
        ),
        Kind(
            "upsert ten secrets",
            secrets_call,
            lambda service, upsert: service.secrets.upsert(5, upsert.secrets),
            new_secrets,
            shape=SecretsUpsert,
            writes=True,
        ),
        Kind(
            "append a log",
            lambda: Call("POST", "/api/logs", token, LOG_BODY),
            lambda service, log: service.logs.append([log]),
            lambda: LogEntry.model_validate(LOG_BODY),
            shape=LogEntry,
            writes=True,
        ),
    ]


async def measure(data_dir: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The parts of each kind of request, in microseconds."""
    app = create_app(load_settings(data_dir=data_dir))
    async with app.router.lifespan_context(app):
        token = (data_dir / "admin.token").read_text("utf-8").strip()
        for number in range(1, SEEDED + 1):
            await call(app, Call("POST", "/api/projects", token, project_body(number)))
            body = SECRETS_BODY
            await call(app, Call("PUT", f"/api/projects/{number}/secrets", token, body))
        copy = timed_copy(data_dir / "strongroom.db", data_dir / "copy.db")
        try:
            parts = Parts(app, token, copy, rounds)
            return {kind.name: await parts.measure(kind) for kind in kinds(token)}
        finally:
            copy.close()


def main() -> None:
    """Print the parts as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=arguments.work) as folder,
        (Path(folder) / "access.log").open("w", encoding="utf-8") as log,
    ):
        configure_logging("INFO", "json", log)
        # The access log goes to a file, as on a real server.
        os.chdir(folder)
        found = uvloop.run(measure(Path(folder) / "data", arguments.rounds))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
