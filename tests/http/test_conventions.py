"""Conventions of every call: request ids, unknown paths and methods, HEAD, the access line."""

import io
import json
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from backend.http.missing_paths import TEXT_NAMES
from backend.routes import ROUTERS
from tests.support.http import REQUEST_ID, make_project, manager_of, problem, row_counts, service_of


def lines_of(log: io.StringIO) -> list[dict[str, Any]]:
    """The lines of the log."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


@pytest.mark.shared
async def test_a_request_id_that_fits_is_echoed(client: httpx.AsyncClient) -> None:
    for given in ("a", "A-b_c.9", "x" * 64):
        response = await client.get("/health", headers={"X-Request-ID": given})
        assert response.headers["x-request-id"] == given


@pytest.mark.shared
async def test_an_invalid_request_id_is_replaced(client: httpx.AsyncClient) -> None:
    for given in ("", " ", "x" * 65, "a b", "a/b", "a;b", "\u00e9", "a\tb", "<b>", "a,b", "a\n"):
        response = await client.get("/health", headers={b"X-Request-ID": given.encode()})
        made = response.headers["x-request-id"]
        assert made != given
        assert REQUEST_ID.fullmatch(made)


@pytest.mark.shared
async def test_no_two_requests_have_one_made_id(client: httpx.AsyncClient) -> None:
    ids = [(await client.get("/health")).headers["x-request-id"] for _ in range(50)]
    assert len(set(ids)) == 50


async def test_the_request_id_is_in_the_problem_and_in_every_log_line(
    client: httpx.AsyncClient, log: io.StringIO
) -> None:
    response = await client.get("/api/projects/7", headers={"X-Request-ID": "from-the-client"})
    assert problem(response, "project_not_found")["request_id"] == "from-the-client"
    assert [line["request_id"] for line in lines_of(log)] == ["from-the-client"]


async def test_the_access_line_has_the_template_and_nothing_of_the_query(
    client: httpx.AsyncClient, log: io.StringIO
) -> None:
    await client.get("/api/projects/12345678901?sentinel-query=1")
    await client.get("/nowhere/sentinel-path")
    known, unknown = lines_of(log)
    assert known["method"] == "GET"
    assert known["route"] == "/api/projects/{project_id}"
    assert known["status"] == 422
    assert known["duration_ms"] >= 0
    assert unknown["route"] == "-"
    assert "sentinel" not in log.getvalue()
    assert "12345678901" not in log.getvalue()


async def test_an_unknown_method_is_neither_logged_nor_counted_by_name(
    client: httpx.AsyncClient, log: io.StringIO
) -> None:
    for number in range(5):
        response = await client.request(f"SENTINEL{number}", "/api/projects")
        problem(response, "method_not_allowed")
    assert "SENTINEL" not in log.getvalue()
    assert "SENTINEL" not in (await client.get("/metrics")).text


@pytest.mark.shared
async def test_an_unknown_path_is_not_found(client: httpx.AsyncClient) -> None:
    for path in ("/api", "/api/projects/", "/api/projects/1/", "/nowhere", "/api/%00", "/api/%ff"):
        problem(await client.get(path), "not_found")


ALLOWED: list[tuple[str, str, set[str]]] = [
    ("PATCH", "/api/projects", {"GET", "HEAD", "POST"}),
    ("DELETE", "/api/projects", {"GET", "HEAD", "POST"}),
    ("OPTIONS", "/api/projects", {"GET", "HEAD", "POST"}),
    ("POST", "/api/projects/1", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
    ("DELETE", "/api/projects/1/secrets", {"GET", "HEAD", "POST", "PUT"}),
    ("PATCH", "/api/projects/1/secrets/A", {"GET", "HEAD", "PUT", "DELETE"}),
    ("PUT", "/api/projects/1/secrets/A/value", {"GET", "HEAD"}),
    ("GET", "/api/projects/1/restore", {"POST"}),
    ("HEAD", "/api/projects/1/restore", {"POST"}),
    ("DELETE", "/api/projects/1/configuration", {"GET", "HEAD", "PUT", "PATCH"}),
    # A secret may be called so.
    ("PATCH", "/api/projects/1/secrets/reveal", {"POST", "GET", "HEAD", "PUT", "DELETE"}),
    ("POST", "/health", {"GET", "HEAD"}),
    ("POST", "/openapi.json", {"GET", "HEAD"}),
]


@pytest.mark.shared
async def test_a_method_that_a_path_does_not_have_is_told_those_it_has(
    client: httpx.AsyncClient,
) -> None:
    for method, path, allowed in ALLOWED:
        response = await client.request(method, path)
        assert response.status_code == 405
        if method != "HEAD":
            problem(response, "method_not_allowed")
        assert {name.strip() for name in response.headers["allow"].split(",")} == allowed


def test_names_of_texts_in_paths_are_known() -> None:
    texts = {
        parameter.name
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for parameter in route.dependant.path_params
        if parameter.field_info.annotation is str
    }
    assert texts == TEXT_NAMES


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    for path in ("/health", "/api/projects", f"/api/projects/{project['id']}", "/openapi.json"):
        get, head = await client.get(path), await client.head(path)
        assert head.status_code == get.status_code == 200
        assert head.content == b""
        for name in ("content-type", "content-length"):
            assert head.headers[name] == get.headers[name]
    assert (await client.head("/api/projects/99")).status_code == 404


async def test_head_is_logged_as_itself(client: httpx.AsyncClient, log: io.StringIO) -> None:
    await client.head("/health")
    assert lines_of(log)[0]["method"] == "HEAD"


async def test_an_unexpected_error_is_internal_and_says_nothing(
    client: httpx.AsyncClient,
    application: FastAPI,
    log: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(project_id: int) -> None:
        raise RuntimeError(f"sentinel-cause {project_id}")

    monkeypatch.setattr(service_of(application).projects, "get", broken)
    response = await client.get("/api/projects/1", headers={"X-Request-ID": "look-me-up"})
    problem(response, "internal")
    assert "sentinel-cause" not in response.text
    lines = lines_of(log)
    assert [line["level"] for line in lines] == ["error", "info"]
    assert "sentinel-cause" in lines[0]["exception"]
    assert lines[1]["status"] == 500
    assert {line["request_id"] for line in lines} == {"look-me-up"}


@pytest.mark.shared
async def test_every_answer_forbids_guessing_its_type(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/nowhere", "/api/projects/0", "/docs"):
        assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"


async def test_reading_stores_nothing(client: httpx.AsyncClient, application: FastAPI) -> None:
    project = await make_project(client, secrets=[{"key": "A", "value": "v"}])
    before = row_counts(manager_of(application))
    base = f"/api/projects/{project['id']}"
    for path in ("", "/full", "/configuration", "/secrets", "/secrets/A"):
        assert (await client.get(base + path)).status_code == 200
    assert row_counts(manager_of(application)) == before


async def test_a_request_id_reaches_the_lines_of_the_writer(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    project = await make_project(client)
    response = await client.delete(
        f"/api/projects/{project['id']}", headers={"X-Request-ID": "deleting"}
    )
    assert response.status_code == 204
    entries = manager_of(application).execute_query(
        "SELECT request_id FROM audit_entries ORDER BY id DESC LIMIT 1"
    )
    assert entries == [{"request_id": "deleting"}]


@pytest.mark.shared
async def test_made_request_ids_have_the_form_that_is_taken(client: httpx.AsyncClient) -> None:
    made = (await client.get("/health")).headers["x-request-id"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", made)
    again = await client.get("/health", headers={"X-Request-ID": made})
    assert again.headers["x-request-id"] == made
