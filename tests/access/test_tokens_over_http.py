"""Tokens over HTTP: the token is shown once, and invalid requests are refused."""

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.schemas.tokens import RESERVED_NAMES
from backend.services import principal
from tests.support.http import places, problem
from tests.support.processes import Serving, environment
from tests.support.resources import make


async def test_a_token_is_shown_once_and_works(client: httpx.AsyncClient) -> None:
    body = {"name": "ci", "scopes": ["projects:read"], "expires_in": "1d"}
    response = await client.post("/api/tokens", json=body)
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    made = response.json()
    token = made.pop("token")
    assert response.headers["location"] == f"/api/tokens/{made['id']}"
    assert (await client.get(response.headers["location"])).json() == made
    as_ci = {"Authorization": f"Bearer {token}"}
    assert (await client.get("/api/projects", headers=as_ci)).status_code == 200
    secret = token.split("_")[2]
    for path in ("/api/tokens", f"/api/tokens/{made['id']}", "/api/audit", "/api/audit/export"):
        assert secret not in (await client.get(path)).text
    listed = (await client.get("/api/tokens")).json()
    assert listed["next_cursor"] is None
    assert [one["name"] for one in listed["tokens"]] == ["ci", "admin"]
    assert listed["tokens"][0]["last_used_at"] is not None
    # An answer that was read can be sent back: it creates another token of the same kind.
    again = {**made, "token": token}
    del again["expires_at"]
    assert (await make(client, "/api/tokens", again))["id"] != made["id"]


async def test_a_revoked_token_shows_only_on_request(client: httpx.AsyncClient) -> None:
    made = await make(client, "/api/tokens", {"name": "ci", "scopes": ["projects:read"]})
    assert (await client.delete(f"/api/tokens/{made['id']}")).status_code == 204
    problem(await client.delete(f"/api/tokens/{made['id']}"), "token_not_found")
    problem(await client.delete("/api/tokens/999"), "token_not_found")
    assert [one["id"] for one in (await client.get("/api/tokens")).json()["tokens"]] == [1]
    shown = (await client.get("/api/tokens?revoked=true")).json()["tokens"]
    assert [one["id"] for one in shown] == [made["id"], 1]
    assert shown[0]["revoked_at"] is not None


@pytest.mark.shared
@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "\u2028"}, "/name"),
        ({"name": "a" * 256}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["projects:read", "everything"]}, "/scopes/1"),
        ({"scopes": "admin"}, "/scopes"),
        ({"project_ids": []}, "/project_ids"),
        ({"project_ids": [0]}, "/project_ids/0"),
        ({"project_ids": [77]}, "/project_ids/0"),
        ({"project_ids": ["1"]}, "/project_ids/0"),
        ({"expires_in": "90"}, "/expires_in"),
        ({"expires_in": "0d"}, "/expires_in"),
        ({"expires_in": "-1d"}, "/expires_in"),
        ({"expires_in": "3651d"}, "/expires_in"),
        ({"expires_in": "999999999w"}, "/expires_in"),
        ({"expires_in": 0}, "/expires_in"),
        ({"expires_in": True}, "/expires_in"),
        ({"expires_in": 1.5}, "/expires_in"),
        ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": 1_900_000_000}, "/expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:00"}, "/expires_at"),
        ({"expires_in": "1d", "expires_at": "2030-01-01T00:00:00Z"}, "/expires_at"),
        ({"secret": "x"}, "/secret"),
    ],
)
async def test_what_is_wrong_is_told_by_its_place(
    client: httpx.AsyncClient, changes: dict[str, Any], pointer: str
) -> None:
    body = {"name": "ci", "scopes": ["projects:read"], **changes}
    assert places(await client.post("/api/tokens", json=body)) == [pointer]
    assert len((await client.get("/api/tokens")).json()["tokens"]) == 1


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "system",
        "anonymous",
        "System",
        "ANONYMOUS",
        " system\n",
        "\tanonymous\u3000",
        "sys\u200btem",
        "\ufeffsystem",
        "\uff53\uff59\uff53\uff54\uff45\uff4d",
        "\u017fystem",
        # Fillers and blanks that are letters or symbols.
        "system\u115f",
        "sys\u3164tem",
        "anonymous\uffa0",
        "\u2800system",
        "system\U0001d159",
        "anonymous\U000e0fff",
    ],
)
async def test_a_token_can_not_be_called_what_the_audit_calls_the_service(
    client: httpx.AsyncClient, name: str
) -> None:
    body = {"name": name, "scopes": ["projects:read"]}
    response = await client.post("/api/tokens", json=body)
    assert places(response) == ["/name"]
    assert response.json()["errors"][0]["code"] == "reserved_name"
    assert len((await client.get("/api/tokens")).json()["tokens"]) == 1


async def test_the_names_of_actors_without_a_token_are_reserved(
    client: httpx.AsyncClient,
) -> None:
    constants = [one for one in vars(principal).values() if isinstance(one, principal.Principal)]
    assert {one.name for one in constants} == RESERVED_NAMES
    for name in ("systems", "the system", "anonymous-ci", "admin"):
        await make(client, "/api/tokens", {"name": name, "scopes": ["projects:read"]})


def test_no_file_and_no_log_line_has_a_token(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with Serving(directory, env=environment(LOG_LEVEL="DEBUG")) as serving:
        first = serving.token
        with serving.client() as client:
            body = {"name": "ci", "scopes": ["projects:read"]}
            made = client.post("/api/tokens", json=body).json()
            wrong = made["token"][:-1] + "~"
            for token in (made["token"], wrong, f"{first} {first}"):
                client.get("/api/projects", headers={"Authorization": f"Bearer {token}"})
            client.get(f"/api/projects?q={made['token']}")
            client.get(f"/api/tokens/{made['id']}")
            client.delete(f"/api/tokens/{made['id']}")
        (directory / "admin.token").unlink()
        # After SIGKILL the write-ahead log still exists, so the test searches it as well.
        serving.end(signal.SIGKILL)
    files = [path.read_bytes() for path in directory.iterdir()]
    everything = b"".join([*files, serving.err.encode(), "".join(serving.lines).encode()])
    assert b"token.created" in everything
    for token in (first, made["token"]):
        assert token.split("_")[2][:43].encode() not in everything
