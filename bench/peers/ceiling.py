"""The ceiling: a FastAPI application that answers constants of the same shapes, without a database.

No server that uses FastAPI, these models and uvicorn in one process can be faster.
"""

from pathlib import Path

from fastapi import FastAPI

from backend.schemas.projects import ProjectCreate, ProjectFull, ProjectList
from backend.schemas.secrets import SecretsUpsert, SecretUpsertResult
from backend.schemas.system import Health
from bench.peers.serving import new_application, serve
from bench.peers.shapes import FULL, PROJECT, Accepted, Limit, LogCreate, ProjectId, project_list
from models import Project


def make(_: Path) -> FastAPI:
    """The application."""
    app = new_application()
    page = project_list(50)

    @app.get("/api/projects/{project_id}")
    async def get_project(project_id: ProjectId) -> Project:  # noqa: ARG001 - a constant
        return PROJECT

    @app.get("/api/projects/{project_id}/full")
    async def get_full(project_id: ProjectId) -> ProjectFull:  # noqa: ARG001
        return FULL

    @app.get("/api/projects")
    async def list_projects(limit: Limit = 50, cursor: str | None = None) -> ProjectList:  # noqa: ARG001
        return page

    @app.post("/api/projects", status_code=201)
    async def create_project(project: ProjectCreate) -> Project:  # noqa: ARG001
        return PROJECT

    @app.put("/api/projects/{project_id}/secrets")
    async def upsert_secrets(project_id: ProjectId, upsert: SecretsUpsert) -> SecretUpsertResult:  # noqa: ARG001
        return SecretUpsertResult(created=0, updated=len(upsert.secrets), unchanged=0)

    @app.post("/api/logs", status_code=201)
    async def append_log(log: LogCreate) -> Accepted:  # noqa: ARG001
        return Accepted(accepted=1)

    @app.get("/health")
    async def health() -> Health:
        return Health()

    return app


if __name__ == "__main__":
    serve(make)
