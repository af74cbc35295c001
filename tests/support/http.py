"""Helpers for tests over HTTP."""

import itertools
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from fastapi import FastAPI

from backend.errors import ERROR_TABLE
from backend.schemas.problems import PROBLEMS, Problem
from backend.services.database_service import DatabaseService
from database.connection_manager import DatabaseManager

JSON = {"Content-Type": "application/json"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_numbers = itertools.count(1)


def service_of(application: FastAPI) -> DatabaseService:
    """The service behind the application's routes."""
    service: DatabaseService = application.state.service
    return service


def manager_of(application: FastAPI) -> DatabaseManager:
    """The application's open database."""
    return service_of(application).db_manager


def new_project(**fields: Any) -> dict[str, Any]:
    """The body of a request for a project with a repository that no other project has."""
    number = next(_numbers)
    return {
        "name": f"Project {number}",
        "github_owner": "acme",
        "github_repo": f"repository-{number}",
        **fields,
    }


async def make_project(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Make a project. Returns the answer."""
    response = await client.post("/api/projects", json=new_project(**fields))
    assert response.status_code == 201, response.text
    project: dict[str, Any] = response.json()
    return project


def problem(response: httpx.Response, code: str) -> dict[str, Any]:
    """The problem document of an answer, after a check of the members that all have in common."""
    document: dict[str, Any] = response.json()
    status, title = ERROR_TABLE[code]
    assert document["code"] == code, document
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"/problems/{code}"
    assert document["title"] == title
    assert document["status"] == status
    assert isinstance(document["detail"], str)
    assert document["detail"]
    assert document["request_id"] == response.headers["x-request-id"]
    assert REQUEST_ID.fullmatch(document["request_id"])
    shape = PROBLEMS.get(code, Problem)
    undeclared = document.keys() - shape.model_fields.keys()
    assert not undeclared, f"{code} needs a shape with {undeclared} in backend.schemas.problems"
    shape.model_validate(document, strict=True)
    for error in document.get("errors", []):
        assert error.keys() == {"pointer", "code", "message"}
        assert all(isinstance(text, str) for text in error.values())
        assert error["pointer"] == "" or error["pointer"].startswith("/")
    return document


def places(response: httpx.Response) -> list[str]:
    """The pointers of a `validation_failed`, in order."""
    return [error["pointer"] for error in problem(response, "validation_failed")["errors"]]


def row_counts(manager: DatabaseManager) -> Mapping[str, int]:
    """The number of rows in each table, without the indexes of projects and runs, which follow them
    in the background."""
    tables = manager.execute_query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return {
        name: manager.execute_query(f'SELECT count(*) AS rows FROM "{name}"')[0]["rows"]  # noqa: S608
        for name in sorted(table["name"] for table in tables)
        if name.endswith(("_index_state", "_index_removals"))
        or not name.startswith(("project_index", "run_index"))
    }


def all_rows(manager: DatabaseManager) -> Mapping[str, list[dict[str, Any]]]:
    """All stored rows by table, without the audit's entries for what was refused: those are no
    effects of a request."""
    rows = {
        name: manager.execute_query(f'SELECT * FROM "{name}" ORDER BY 1')  # noqa: S608
        for name in row_counts(manager)
    }
    rows.pop("project_index_state", None)
    rows.pop("run_index_state", None)
    # It follows from the entries of the audit.
    rows.pop("guarded_targets", None)
    rows["audit_entries"] = [
        row for row in rows.get("audit_entries", []) if not row["action"].endswith("_refused")
    ]
    return rows


async def pages(
    client: httpx.AsyncClient, path: str, name: str, **params: Any
) -> AsyncIterator[list[dict[str, Any]]]:
    """The pages of a list, one after the other, each requested only when it is used."""
    while True:
        response = await client.get(path, params=params)
        assert response.status_code == 200, response.text
        page = response.json()
        assert page.keys() == {name, "next_cursor"}
        yield page[name]
        if page["next_cursor"] is None:
            return
        assert len(page[name]) == params.get("limit", 50)
        params["cursor"] = page["next_cursor"]


async def walk(client: httpx.AsyncClient, path: str, name: str, **params: Any) -> list[Any]:
    """All items of a list, page by page."""
    return [item async for page in pages(client, path, name, **params) for item in page]


def large_project() -> dict[str, Any]:
    """The body of a request that fills hundreds of pages of the database."""
    return new_project(
        settings={"planning_statement": "x" * 500_000}, secrets=[{"key": "A", "value": "v"}]
    )


async def limit_pages(app: FastAPI, pages: int) -> None:
    """Limit the size of the file, as a full disk would; the limit is never below the current
    size."""

    def limit(raw: sqlite3.Connection) -> None:
        raw.execute(f"PRAGMA max_page_count = {pages}").close()

    await manager_of(app).async_pool.run_alone(limit)
