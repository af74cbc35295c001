"""SQLAlchemy's async engine and ORM over aiosqlite, as in most FastAPI projects.

A dependency provides a session for each request, ORM objects are the answers, and writers share a
lock. Without the lock, requests fail with `database is locked` under this load.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from backend.schemas.projects import ProjectCreate, ProjectFull, ProjectList, ProjectSettingsCreate
from backend.schemas.secrets import SecretMetadata, SecretUpsertResult
from backend.schemas.system import Health
from bench.peers.ordinary import PRAGMAS, make_database
from bench.peers.orm_tables import AuditRow, KeyRow, LogRow, ProjectRow, SecretRow, SettingsRow
from bench.peers.serving import new_application, serve
from bench.peers.shapes import Accepted, Limit, LogCreate, ProjectId, SecretsPut, SlowRows
from bench.peers.slow_query import SLOW_QUERY
from bench.peers.vault import PeerVault, now
from models import Project, ProjectSettings


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def new_engine(path: Path) -> AsyncEngine:
    """The engine with its default pool."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def _audit(action: str, project_id: int, fields: list[str]) -> AuditRow:
    return AuditRow(
        at=now(),
        actor="admin",
        action=action,
        target=f"projects/{project_id}",
        project_id=project_id,
        fields=json.dumps(fields),
    )


def _secret(project_id: int, key: str, sealed: str) -> SecretRow:
    at = now()
    return SecretRow(
        project_id=project_id, key_name=key, ciphertext=sealed, created_at=at, updated_at=at
    )


def _metadata(row: SecretRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "project_id": row.project_id,
        "key": row.key_name,
        "version": row.version,
        "status": "ok",
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


async def _found(session: AsyncSession, project_id: int) -> ProjectRow:
    project: ProjectRow | None = await session.get(ProjectRow, project_id)
    if project is None:
        raise HTTPException(404)
    return project


def add_reads(app: FastAPI, sessions: Any) -> None:
    """The routes that read."""

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    Session = Annotated[AsyncSession, Depends(session)]  # noqa: N806 - a type

    @app.get("/api/projects/{project_id}", response_model=Project)
    async def get_project(project_id: ProjectId, session: Session) -> Any:
        return await _found(session, project_id)

    @app.get("/api/projects/{project_id}/full", response_model=ProjectFull)
    async def get_full(project_id: ProjectId, session: Session) -> Any:
        project = await _found(session, project_id)
        settings = await session.scalar(
            select(SettingsRow).where(SettingsRow.project_id == project_id)
        )
        secrets = await session.scalars(
            select(SecretRow)
            .where(SecretRow.project_id == project_id)
            .order_by(SecretRow.id.desc())
        )
        shown = [SecretMetadata.model_validate(_metadata(row)) for row in secrets]
        return ProjectFull(
            project=Project.model_validate(project, from_attributes=True),
            settings=ProjectSettings.model_validate(settings, from_attributes=True),
            secrets=shown,
            secret_count=len(shown),
        )

    @app.get("/api/projects", response_model=ProjectList)
    async def list_projects(session: Session, limit: Limit = 50) -> Any:
        found = await session.scalars(
            select(ProjectRow)
            .where(ProjectRow.status != "deleted")
            .order_by(ProjectRow.created_at.desc(), ProjectRow.id.desc())
            .limit(limit + 1)
        )
        projects = list(found)
        more = len(projects) > limit
        return {
            "projects": projects[:limit],
            "next_cursor": projects[limit - 1].created_at if more else None,
        }

    @app.get("/bench/slow")
    async def slow(size: SlowRows, session: Session) -> int:
        statement = text(SLOW_QUERY.replace("?", ":size"))
        return int(await session.scalar(statement, {"size": size}))

    @app.get("/health")
    async def health() -> Health:
        return Health()


def add_writes(app: FastAPI, sessions: Any, vault: PeerVault) -> None:
    """The routes that write."""
    writing = asyncio.Lock()

    async def session() -> AsyncIterator[AsyncSession]:
        async with writing, sessions() as opened:
            yield opened

    # This scope releases the lock before the answer is sent.
    Session = Annotated[AsyncSession, Depends(session, scope="function")]  # noqa: N806 - a type

    @app.post("/api/projects", status_code=201, response_model=Project)
    async def create_project(project: ProjectCreate, session: Session) -> Any:
        at = now()
        row = ProjectRow(
            **project.model_dump(exclude={"settings", "secrets"}), created_at=at, updated_at=at
        )
        session.add(row)
        await session.flush()
        settings = project.settings or ProjectSettingsCreate()
        key = vault.new_key(row.id)
        session.add(
            SettingsRow(project_id=row.id, **settings.model_dump(), created_at=at, updated_at=at)
        )
        session.add(KeyRow(project_id=row.id, wrapped=key))
        for secret in project.secrets:
            sealed = vault.seal(row.id, key, secret.key, secret.value)
            session.add(_secret(row.id, secret.key, sealed))
        session.add(_audit("project.created", row.id, [*project.model_fields_set]))
        await session.commit()
        return row

    @app.put("/api/projects/{project_id}/secrets")
    async def upsert_secrets(
        project_id: ProjectId, upsert: SecretsPut, session: Session
    ) -> SecretUpsertResult:
        key = await session.get(KeyRow, project_id)
        if key is None:
            raise HTTPException(404)
        found = await session.scalars(select(SecretRow).where(SecretRow.project_id == project_id))
        present = {row.key_name: row for row in found}
        result = SecretUpsertResult(created=0, updated=0, unchanged=0)
        for secret in upsert.secrets:
            sealed = vault.seal(project_id, key.wrapped, secret.key, secret.value)
            row = present.get(secret.key)
            if row is None:
                session.add(_secret(project_id, secret.key, sealed))
                result.created += 1
            else:
                row.ciphertext, row.updated_at, row.version = sealed, now(), row.version + 1
                result.updated += 1
        session.add(_audit("secrets.updated", project_id, [s.key for s in upsert.secrets]))
        await session.commit()
        return result

    @app.post("/api/logs", status_code=201)
    async def append_log(log: LogCreate, session: Session) -> Accepted:
        fields = log.model_dump(mode="json")
        fields["context"] = json.dumps(log.context)
        session.add(LogRow(**fields, created_at=now()))
        await session.commit()
        return Accepted(accepted=1)


def make(data_dir: Path) -> FastAPI:
    """The application."""
    engine = new_engine(make_database(data_dir))
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = new_application(lifespan=lifespan)
    add_reads(app, sessions)
    add_writes(app, sessions, PeerVault())
    return app


if __name__ == "__main__":
    serve(make)
