"""The ordinary pool: `aiosqlitepool` over aiosqlite, with a hop for each statement and a commit for
each request.

Writers in the process share a lock, the usual remedy for `database is locked`. Without it, this
peer is slower, and requests fail.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from aiosqlitepool import SQLiteConnectionPool
from fastapi import FastAPI, HTTPException

from backend.schemas.projects import ProjectCreate, ProjectFull, ProjectList, ProjectSettingsCreate
from backend.schemas.secrets import SecretMetadata, SecretUpsertResult
from backend.schemas.system import Health
from bench.peers.serving import new_application, serve
from bench.peers.shapes import Accepted, Limit, LogCreate, ProjectId, SecretsPut, SlowRows
from bench.peers.slow_query import SLOW_QUERY
from bench.peers.vault import PeerVault, now
from models import Project, ProjectSettings, SecretStatus

PRAGMAS = (
    "busy_timeout = 5000",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "temp_store = MEMORY",
    "cache_size = -16384",
)
SCHEMA = Path(__file__).with_name("schema.sql")

Connection = aiosqlite.Connection


def make_database(data_dir: Path) -> Path:
    """The database file of a data directory, created if it is missing."""
    path = data_dir / "peer.db"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path)
        connection.executescript("PRAGMA journal_mode = WAL;" + SCHEMA.read_text("utf-8"))
        connection.close()
    return path


class Store:
    """The pool and the writers' lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = asyncio.Lock()
        self._pool = SQLiteConnectionPool(self._connect)

    async def _connect(self) -> Connection:
        connection = await aiosqlite.connect(self._path, isolation_level=None)
        connection.row_factory = sqlite3.Row
        for pragma in PRAGMAS:
            await connection.execute_fetchall(f"PRAGMA {pragma}")
        return connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection for reading."""
        async with self._pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, committed when the block ends."""
        async with self._writing, self._pool.connection() as connection:
            await connection.execute_fetchall("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                await connection.execute_fetchall("ROLLBACK")
                raise
            await connection.execute_fetchall("COMMIT")

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()


async def rows(connection: Connection, sql: str, *params: Any) -> list[sqlite3.Row]:
    """All rows of a statement."""
    return list(await connection.execute_fetchall(sql, params))


async def found_project(connection: Connection, project_id: int) -> Project:
    """The project. Raises the HTTP error 404."""
    found = await rows(connection, "SELECT * FROM projects WHERE id = ?", project_id)
    if not found:
        raise HTTPException(404)
    return Project.model_validate(dict(found[0]))


async def record(connection: Connection, action: str, project_id: int, fields: list[str]) -> None:
    """Add the audit row."""
    await rows(
        connection,
        "INSERT INTO audit_entries (at, actor, action, target, project_id, fields)"
        " VALUES (?, 'admin', ?, ?, ?, ?)",
        now(),
        action,
        f"projects/{project_id}",
        project_id,
        json.dumps(fields),
    )


PUT_ONE = (
    "INSERT INTO project_secrets (project_id, key_name, ciphertext, created_at, updated_at)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (project_id, key_name) DO UPDATE SET"
    " ciphertext = excluded.ciphertext, updated_at = excluded.updated_at, version = version + 1"
)


def secret_metadata(row: sqlite3.Row) -> SecretMetadata:
    """The metadata of a secret."""
    return SecretMetadata(
        id=row["id"],
        project_id=row["project_id"],
        key=row["key_name"],
        version=row["version"],
        status=SecretStatus.OK,
        redact=True,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def add_reads(app: FastAPI, store: Store) -> None:
    """The routes that read."""

    @app.get("/api/projects/{project_id}")
    async def get_project(project_id: ProjectId) -> Project:
        async with store.reading() as connection:
            return await found_project(connection, project_id)

    @app.get("/api/projects/{project_id}/full")
    async def get_full(project_id: ProjectId) -> ProjectFull:
        async with store.reading() as connection:
            project = await found_project(connection, project_id)
            settings = await rows(
                connection, "SELECT * FROM project_settings WHERE project_id = ?", project_id
            )
            secrets = await rows(
                connection,
                "SELECT * FROM project_secrets WHERE project_id = ? ORDER BY id DESC",
                project_id,
            )
        return ProjectFull(
            project=project,
            settings=ProjectSettings.model_validate(dict(settings[0])),
            secrets=[secret_metadata(row) for row in secrets],
            secret_count=len(secrets),
        )

    @app.get("/api/projects")
    async def list_projects(limit: Limit = 50) -> ProjectList:
        async with store.reading() as connection:
            found = await rows(
                connection,
                "SELECT * FROM projects WHERE status <> 'deleted'"
                " ORDER BY created_at DESC, id DESC LIMIT ?",
                limit + 1,
            )
        projects = [Project.model_validate(dict(row)) for row in found[:limit]]
        more = len(found) > limit
        return ProjectList(projects=projects, next_cursor=projects[-1].created_at if more else None)

    @app.get("/bench/slow")
    async def slow(size: SlowRows) -> int:
        async with store.reading() as connection:
            return int((await rows(connection, SLOW_QUERY, size))[0][0])

    @app.get("/health")
    async def health() -> Health:
        return Health()


def add_writes(app: FastAPI, store: Store, vault: PeerVault) -> None:
    """The routes that write."""

    @app.post("/api/projects", status_code=201)
    async def create_project(project: ProjectCreate) -> Project:
        at = now()
        settings = project.settings or ProjectSettingsCreate()
        async with store.writing() as connection:
            inserted = await rows(
                connection,
                "INSERT INTO projects (name, github_owner, github_repo, status, webhook_url,"
                " auto_merge_enabled, auto_confirm_plans, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
                *project.model_dump(exclude={"settings", "secrets"}).values(),
                at,
                at,
            )
            created = Project.model_validate(dict(inserted[0]))
            await rows(
                connection,
                "INSERT INTO project_settings (project_id, planning_statement, repository_rules,"
                " setup_commands, branch_name, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                created.id,
                *settings.model_dump().values(),
                at,
                at,
            )
            key = vault.new_key(created.id)
            await rows(connection, "INSERT INTO project_keys VALUES (?, ?)", created.id, key)
            for secret in project.secrets:
                sealed = vault.seal(created.id, key, secret.key, secret.value)
                await rows(connection, PUT_ONE, created.id, secret.key, sealed, at, at)
            await record(connection, "project.created", created.id, [*project.model_fields_set])
        return created

    @app.put("/api/projects/{project_id}/secrets")
    async def upsert_secrets(project_id: ProjectId, upsert: SecretsPut) -> SecretUpsertResult:
        at = now()
        async with store.writing() as connection:
            keys = await rows(
                connection, "SELECT wrapped FROM project_keys WHERE project_id = ?", project_id
            )
            if not keys:
                raise HTTPException(404)
            stored = await rows(
                connection, "SELECT key_name FROM project_secrets WHERE project_id = ?", project_id
            )
            present = {row["key_name"] for row in stored}
            for secret in upsert.secrets:
                sealed = vault.seal(project_id, keys[0]["wrapped"], secret.key, secret.value)
                await rows(connection, PUT_ONE, project_id, secret.key, sealed, at, at)
            names = [secret.key for secret in upsert.secrets]
            await record(connection, "secrets.updated", project_id, names)
        updated = len(present.intersection(names))
        return SecretUpsertResult(created=len(names) - updated, updated=updated, unchanged=0)

    @app.post("/api/logs", status_code=201)
    async def append_log(log: LogCreate) -> Accepted:
        async with store.writing() as connection:
            await rows(
                connection,
                "INSERT INTO system_logs (level, message, component, context, correlation_id,"
                " project_id, agent_run_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                log.level.value,
                log.message,
                log.component,
                json.dumps(log.context),
                log.correlation_id,
                log.project_id,
                log.agent_run_id,
                now(),
            )
        return Accepted(accepted=1)


def make(data_dir: Path) -> FastAPI:
    """The application."""
    store = Store(make_database(data_dir))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await store.close()

    app = new_application(lifespan=lifespan)
    add_reads(app, store)
    add_writes(app, store, PeerVault())
    return app


if __name__ == "__main__":
    serve(make)
