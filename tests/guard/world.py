"""An installation with something of each guarded kind, and its rows as they were at earlier times.

It is made once, over HTTP. Each test copies it, writes to the copy of the file as an attacker
would, and starts a service on it.
"""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from backend.main import create_app
from backend.repositories.guarded_kinds import GUARDED_KINDS
from backend.repositories.version_rows import VERSION_KINDS
from backend.services.audit.verification import verify_audit
from config.settings import Settings
from tests.guard.replay import faults_of
from tests.support.clients import client_of, new_token, token_of_first_start
from tests.support.http import service_of
from tests.support.webhooks import TOKEN, deliver

Row = dict[str, Any]

VALUES = (
    "the-first-value",
    "the-second-value",
    "the-early-value",
    "the-late-value",
    "the-deleted-value",
    "the-purged-value",
    "the-other-value",
)
"""Every value of a secret, none of which may be in a log."""
NEW_TOKEN = "another made-up secret token"
DATABASE = "strongroom.db"
EARLIER, LATER = "2020-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"


@contextmanager
def outside(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of someone who can write the file, without the checks that SQL would make."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    try:
        yield connection
    finally:
        connection.close()


def row_of(db: sqlite3.Connection, table: str, where: str) -> Row:
    """The only row of the table under this condition."""
    [row] = db.execute(f"SELECT * FROM {table} WHERE {where}").fetchall()  # noqa: S608
    return dict(row)


def put(db: sqlite3.Connection, table: str, row: Row, **changes: Any) -> None:
    """Write a whole row, in the place of those that it collides with."""
    row = {**row, **changes}
    db.execute(
        f"INSERT OR REPLACE INTO {table} ({', '.join(row)})"  # noqa: S608
        f" VALUES ({', '.join('?' * len(row))})",
        tuple(row.values()),
    )


@dataclass
class World:
    """An installation's directory, and what a test needs to know about it."""

    settings: Settings
    tokens: dict[str, str] = field(default_factory=dict)
    """Tokens by what they are."""
    rows: dict[str, Row] = field(default_factory=dict)
    """Rows by what they were, as they were then."""

    @property
    def database(self) -> Path:
        """The database file."""
        return self.settings.data_dir / DATABASE

    def copy(self, directory: Path) -> "World":
        """The same in another directory."""
        shutil.copytree(self.settings.data_dir, directory)
        settings = self.settings.model_copy(update={"data_dir": directory})
        return World(settings, self.tokens, self.rows)

    def keep(self, name: str, table: str, where: str) -> None:
        """Keep a row as it is now, for a later forgery."""
        with outside(self.database) as db:
            self.rows[name] = row_of(db, table, where)


@dataclass
class Running:
    """A service that runs on the world's file."""

    app: FastAPI
    client: httpx.AsyncClient
    """A client with the admin's token."""
    world: World
    stack: AsyncExitStack

    async def with_token(self, name: str) -> httpx.AsyncClient:
        """A client with one of the world's tokens."""
        client = client_of(self.app, self.world.tokens[name])
        return await self.stack.enter_async_context(client)

    async def named_by_verify(self) -> set[str]:
        """The targets that `strongroom verify` names; `audit` if the audit itself is not whole."""
        service = service_of(self.app)
        if verify_audit(service.db_manager, service.audit.chain) is not None:
            return {"audit"}
        problems: list[str] = []
        for kind in GUARDED_KINDS:
            page = await service.row_verification.rows(kind, after_id=None, limit=1000)
            problems += page.problems
        for versions in VERSION_KINDS:
            page = await service.row_verification.versions(versions, after_id=None, limit=1000)
            problems += page.problems
        page = await service.row_verification.entries(after_id=0, limit=1000)
        return {problem.split()[0] for problem in (*problems, *page.problems)}

    async def check_verify(self) -> None:
        """Check that `strongroom verify` names what `faults` has, and nothing else."""
        named = await self.named_by_verify()
        assert named
        assert named in ({"audit"}, {fault.split()[0] for fault in self.faults()})

    def faults(self) -> list[str]:
        """How the guarded rows differ from the record."""
        return faults_of(service_of(self.app))


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Running]:
    """A service, started on the world's file, and stopped at the end of the block."""
    app = create_app(world.settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        token = token_of_first_start(world.settings)
        client = await stack.enter_async_context(client_of(app, token))
        yield Running(app, client, world, stack)


async def fill(world: World) -> None:
    """Make the installation's resources, and keep their rows on the way."""
    async with running(world) as service:
        client = service.client
        await _projects(client, world)
        await _secrets(client, world)
        await _webhooks(client, world)
        await _tokens(service, world)
        await _sessions(service, world)
        assert service.faults() == []


async def _made(client: httpx.AsyncClient, path: str, body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _done(answer: httpx.Response) -> None:
    assert answer.is_success, answer.text


async def _projects(client: httpx.AsyncClient, world: World) -> None:
    for number, repo in enumerate(("first", "second", "purged", "deleted"), 1):
        body: dict[str, Any] = {
            "name": repo,
            "github_owner": "acme",
            "github_repo": repo,
            "webhook_url": "https://hooks.example.com/genuine",
            "settings": {"setup_commands": "make early", "planning_statement": "early"},
            "secrets": [{"key": "KEY", "value": VALUES[5 if repo == "purged" else 0]}],
        }
        assert (await _made(client, "/api/projects", body))["id"] == number
    world.keep("early configuration", "project_settings", "project_id = 1")
    world.keep("early project", "projects", "id = 1")
    body = {"setup_commands": "make late", "planning_statement": "late"}
    await _done(await client.patch("/api/projects/1/configuration", json=body))
    await _done(await client.patch("/api/projects/1", json={"name": "renamed"}))
    for table in ("projects", "project_settings", "project_secrets", "project_keys"):
        column = "id" if table == "projects" else "project_id"
        world.keep(f"purged {table}", table, f"{column} = 3")
    await _done(await client.delete("/api/projects/3", params={"purge": "true"}))
    await _done(await client.delete("/api/projects/4"))
    for project_id in (1, 2):
        body = {"project_id": project_id, "target_text": f"for {project_id}"}
        await _made(client, "/api/agent-runs", body)


async def _secrets(client: httpx.AsyncClient, world: World) -> None:
    path = "/api/projects/1/secrets"
    world.keep("secret at version 1", "project_secrets", "project_id = 1 AND key_name = 'KEY'")
    await _done(await client.put(f"{path}/KEY", json={"value": VALUES[1]}))
    await _made(client, path, {"key": "LIFE", "value": VALUES[2]})
    world.keep("secret of an earlier life", "project_secrets", "key_name = 'LIFE'")
    await _done(await client.delete(f"{path}/LIFE"))
    await _made(client, path, {"key": "LIFE", "value": VALUES[3]})
    await _made(client, path, {"key": "GONE", "value": VALUES[4]})
    world.keep("deleted secret", "project_secrets", "key_name = 'GONE'")
    await _done(await client.delete(f"{path}/GONE"))
    await _made(client, path, {"key": "OTHER", "value": VALUES[6]})


async def _webhooks(client: httpx.AsyncClient, world: World) -> None:
    path = "/api/projects/1/webhooks"
    body = {
        "webhook_type": "github_pr",
        "secret_token": TOKEN,
        "events": ["push"],
        "webhook_url": "https://hooks.example.com/genuine",
    }
    assert (await _made(client, path, body))["id"] == 1
    world.keep("webhook with its first token", "webhooks", "id = 1")
    await _done(await client.patch("/api/webhooks/1", json={"secret_token": NEW_TOKEN}))
    assert (await _made(client, path, body))["id"] == 2
    world.keep("deleted webhook", "webhooks", "id = 2")
    await _done(await client.delete("/api/webhooks/2"))
    assert (await _made(client, "/api/projects/2/webhooks", body))["id"] == 3
    await _done(await deliver(client, 1, token=NEW_TOKEN))


async def _sessions(service: Running, world: World) -> None:
    for name in ("session", "ended"):
        token = world.tokens["narrow"]
        answer = await service.client.post("/api/session", json={"token": token})
        await _done(answer)
        world.tokens[name] = answer.headers["set-cookie"].partition(";")[0]
    world.keep("session before it ended", "sessions", "id = 2")
    headers = {
        "Cookie": world.tokens["ended"],
        "Origin": "http://strongroom.test",
        "X-Strongroom-Request": "1",
    }
    async with client_of(service.app) as browser:
        await _done(await browser.delete("/api/session", headers=headers))


async def _tokens(service: Running, world: World) -> None:
    client, kit = service.client, service_of(service.app).kit
    bound = ("projects:read", "secrets:reveal")
    world.tokens["bound"] = await new_token(client, *bound, project_ids=[1])
    world.tokens["narrow"] = await new_token(client, "projects:read")
    world.keep("token before it was revoked", "api_tokens", "id = 3")
    world.tokens["revoked"] = world.tokens["narrow"]
    await _done(await client.delete("/api/tokens/3"))
    world.tokens["narrow"] = await new_token(client, "projects:read")
    world.keep("token 4", "api_tokens", "id = 4")
    now, kit.clock = kit.clock, lambda: datetime(2020, 1, 1, tzinfo=UTC)
    world.tokens["expired"] = await new_token(client, "projects:read", expires_in=3600)
    kit.clock = now
