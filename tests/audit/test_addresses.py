"""Each entry has the address of the client that caused it, and nothing that a client made up."""

from ipaddress import ip_network

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from backend.observability.request_ids import (
    current_client_address,
    enter_request,
    leave_request,
)
from backend.schemas.projects import ProjectCreate
from backend.services.database_service import DatabaseService
from backend.services.principal import EVERYBODY, SYSTEM, acting_as
from config.settings import Settings
from database.connection_manager import DatabaseManager
from tests.support.clients import bearer, client_of, token_of_first_start
from tests.support.http import make_project, new_project

PROXY = "10.1.2.3"


async def newest(client: httpx.AsyncClient) -> str | None:
    [entry] = (await client.get("/api/audit", params={"limit": 1})).json()["entries"]
    address: str | None = entry["address"]
    return address


BELIEVED = [
    ("203.0.113.7", None, "203.0.113.7"),
    ("2001:db8::7", None, "2001:db8::7"),
    ("fe80::7%eth0", None, "fe80::7"),
    # Only a trusted proxy is believed.
    ("203.0.113.7", "192.0.2.1", "203.0.113.7"),
    (PROXY, "192.0.2.1", "192.0.2.1"),
    (PROXY, "198.51.100.1, 192.0.2.1", "192.0.2.1"),
    (PROXY, "unknown", PROXY),
    (PROXY, "fe80::1%" + "x" * 500, "fe80::1"),
    (PROXY, None, PROXY),
]
"""The address of the connection, `X-Forwarded-For`, and what is recorded."""


async def test_an_entry_has_the_address_that_is_believed(installed: Settings) -> None:
    proxies = (ip_network("10.0.0.0/8"),)
    app = create_app(installed.model_copy(update={"trusted_proxies": proxies}))
    token = token_of_first_start(installed)
    async with app.router.lifespan_context(app):
        for peer, forwarded, recorded in BELIEVED:
            headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
            async with client_of(app, token, address=peer) as client:
                await client.post("/api/projects", json=new_project(), headers=headers)
                assert await newest(client) == recorded, (peer, forwarded)


async def test_what_the_service_does_itself_has_no_address(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    project = ProjectCreate.model_validate(new_project())
    await service.projects.create(project)
    token = enter_request("r-1", {"client": ("203.0.113.7", 1)})
    try:
        with acting_as(SYSTEM):
            await service.projects.delete(1)
        with acting_as(EVERYBODY):
            await service.projects.restore(1)
    finally:
        leave_request(token)
    rows = manager.execute_query("SELECT address FROM audit_entries ORDER BY id")
    assert [row["address"] for row in rows] == [None, None, None, None, "203.0.113.7"]


@pytest.mark.parametrize(
    ("scope", "address"),
    [
        ({}, None),
        ({"client": None}, None),
        ({"client": ("", 0)}, None),
        ({"client": ("203.0.113.7", 1)}, "203.0.113.7"),
        ({"client": ("x" * 500, 1)}, "x" * 100),
    ],
)
def test_an_address_always_fits_the_column(scope: dict[str, object], address: str | None) -> None:
    token = enter_request("r-1", scope)
    try:
        assert current_client_address() == address
    finally:
        leave_request(token)
    assert current_client_address() is None


async def test_a_bound_token_sees_the_addresses_of_its_projects_alone(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    mine = await make_project(client)
    await make_project(client)
    body = {"name": "auditor", "scopes": ["audit:read"], "project_ids": [mine["id"]]}
    token = (await client.post("/api/tokens", json=body)).json()["token"]
    async with client_of(application, address="198.51.100.1") as auditor:
        listed = (await auditor.get("/api/audit", headers=bearer(token))).json()["entries"]
    assert [(entry["project_id"], entry["address"]) for entry in listed] == [
        (mine["id"], "127.0.0.1"),
        (mine["id"], "127.0.0.1"),
    ]
