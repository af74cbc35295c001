"""Secrets over HTTP: values are written in several ways, and revealed in one."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from tests.support.http import (
    TIME,
    all_rows,
    make_project,
    manager_of,
    new_project,
    places,
    problem,
)

METADATA = {
    "id",
    "project_id",
    "key",
    "value",
    "version",
    "status",
    "redact",
    "created_at",
    "updated_at",
}


@pytest.fixture
async def path(client: httpx.AsyncClient) -> str:
    """The path of the secrets of a project without secrets."""
    project = await make_project(client)
    return f"/api/projects/{project['id']}/secrets"


async def revealed(client: httpx.AsyncClient, path: str, key: str) -> Any:
    """The value of a secret, after a check of the rest of the answer."""
    response = await client.get(f"{path}/{key}/value")
    assert response.status_code == 200
    answer = response.json()
    assert answer.keys() == {"key", "value", "version"}
    assert answer["key"] == key
    assert response.headers["cache-control"] == "no-store"
    return answer["value"]


@pytest.mark.shared
async def test_a_new_secret_is_answered_without_its_value(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.post(path, json={"key": "API_KEY", "value": "sentinel"})
    assert response.status_code == 201
    assert response.headers["location"] == f"{path}/API_KEY"
    secret = response.json()
    assert secret.keys() == METADATA
    assert (secret["key"], secret["value"], secret["version"]) == ("API_KEY", None, 1)
    assert secret["status"] == "ok"
    assert path == f"/api/projects/{secret['project_id']}/secrets"
    assert TIME.fullmatch(secret["created_at"])
    assert secret["updated_at"] == secret["created_at"]
    read = await client.get(response.headers["location"])
    assert (read.status_code, read.json()) == (200, secret)
    listed = (await client.get(path)).json()
    assert listed == {"secrets": [secret], "next_cursor": None}
    assert await revealed(client, path, "API_KEY") == "sentinel"


@pytest.mark.shared
@pytest.mark.parametrize(
    "value",
    [
        "x",
        " ",
        "\n",
        "\ufeff",
        "x" * 65_536,
        "\u00e9" * 32_768,
        "\U0001f511" * 16_384,
        '"\\/\b\x01\x7f\u2028',
    ],
)
async def test_a_value_comes_back_to_the_letter(
    client: httpx.AsyncClient, path: str, value: str
) -> None:
    await client.post(path, json={"key": "A", "value": value})
    assert await revealed(client, path, "A") == value
    assert (await client.put(f"{path}/A", json={"value": value})).json()["version"] == 1
    upsert = {"secrets": [{"key": "A", "value": value}, {"key": "B", "value": value}]}
    assert (await client.put(path, json=upsert)).json() == {
        "created": 1,
        "updated": 0,
        "unchanged": 1,
    }
    assert await revealed(client, path, "B") == value


@pytest.mark.shared
async def test_keys_may_be_these(client: httpx.AsyncClient, path: str) -> None:
    for key in ("a", "_", "A" * 100, "_9", "aB_9"):
        response = await client.post(path, json={"key": key, "value": "v"})
        assert response.json()["key"] == key
        assert (await client.get(f"{path}/{key}")).status_code == 200


WRONG_KEYS = ["", "9", "a-b", "a b", "A" * 101, "\u00e4", "a\n", "a\0", "a.b"]
WRONG_VALUES: list[Any] = ["", "x" * 65_537, "\u00e9" * 32_769, "a\0b", None, 5, ["v"], {"v": 1}]


@pytest.mark.shared
async def test_other_keys_are_refused(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    before = all_rows(manager_of(application))
    for key in (*WRONG_KEYS, None, 5, ["A"]):
        secret = {"key": key, "value": "v"}
        assert places(await client.post(path, json=secret)) == ["/key"]
        upsert = {"secrets": [{"key": "GOOD", "value": "v"}, secret]}
        assert places(await client.put(path, json=upsert)) == ["/secrets/1/key"]
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
async def test_a_path_with_another_key_is_refused(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    before = all_rows(manager_of(application))
    for key in filter(None, WRONG_KEYS):
        address = f"{path}/{quote(key)}"
        assert places(await client.put(address, json={"value": "v"})) == ["/path/key"]
        for method, rest in (("GET", ""), ("GET", "/value"), ("DELETE", "")):
            response = await client.request(method, f"{address}{rest}")
            assert places(response) == ["/path/key"]
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
async def test_other_values_are_refused(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    await client.post(path, json={"key": "OLD", "value": "v"})
    before = all_rows(manager_of(application))
    for value in WRONG_VALUES:
        assert places(await client.post(path, json={"key": "NEW", "value": value})) == ["/value"]
        for key in ("OLD", "NEW"):
            assert places(await client.put(f"{path}/{key}", json={"value": value})) == ["/value"]
        upsert = {"secrets": [{"key": "OTHER", "value": "v"}, {"key": "OLD", "value": value}]}
        assert places(await client.put(path, json=upsert)) == ["/secrets/1/value"]
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
async def test_the_key_may_be_called_key_name(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json={"key_name": "A", "value": "v"})
    assert (response.status_code, response.json()["key"]) == (201, "A")
    upsert = {"secrets": [{"key_name": "B", "value": "v"}, {"key": "C", "value": "v"}]}
    assert (await client.put(path, json=upsert)).json()["created"] == 2
    project = await make_project(client, secrets=[{"key_name": "D", "value": "v"}])
    assert (await client.get(f"/api/projects/{project['id']}/secrets/D")).status_code == 200
    both = {"key": "E", "key_name": "F", "value": "v"}
    assert places(await client.post(path, json=both)) == ["/key_name"]
    assert places(await client.post(path, json={"key_name": "1", "value": "v"})) == ["/key"]


@pytest.mark.shared
async def test_a_key_that_exists_is_not_made_again(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    await client.post(path, json={"key": "A", "value": "first"})
    before = all_rows(manager_of(application))
    problem(await client.post(path, json={"key": "A", "value": "second"}), "secret_exists")
    problem(await client.post(path, json={"key": "A", "value": "first"}), "secret_exists")
    assert all_rows(manager_of(application)) == before
    # Keys are case-sensitive, as environment variables are.
    assert (await client.post(path, json={"key": "a", "value": "v"})).status_code == 201
    other = await make_project(client)
    response = await client.post(
        f"/api/projects/{other['id']}/secrets", json={"key": "A", "value": "v"}
    )
    assert response.status_code == 201


@pytest.mark.shared
async def test_putting_one_makes_it_then_changes_it(client: httpx.AsyncClient, path: str) -> None:
    first = await client.put(f"{path}/A", json={"value": "one"})
    assert first.status_code == 201
    assert first.headers["location"] == f"{path}/A"
    second = await client.put(f"{path}/A", json={"value": "two"})
    assert second.status_code == 200
    assert "location" not in second.headers
    assert second.json() == {
        **first.json(),
        "version": 2,
        "updated_at": second.json()["updated_at"],
    }
    assert await revealed(client, path, "A") == "two"
    same = await client.put(f"{path}/A", json={"value": "two"})
    assert (same.status_code, same.json()) == (200, second.json())


@pytest.mark.shared
async def test_what_revealing_answered_can_be_sent_back(
    client: httpx.AsyncClient, path: str
) -> None:
    await client.post(path, json={"key": "A", "value": "v"})
    answer = (await client.get(f"{path}/A/value")).json()
    response = await client.put(f"{path}/A", json=answer)
    assert (response.status_code, response.json()["version"]) == (200, 1)
    metadata = (await client.get(f"{path}/A")).json()
    response = await client.put(f"{path}/A", json={**metadata, "value": "w"})
    assert (response.status_code, response.json()["version"]) == (200, 2)
    other = await make_project(client)
    elsewhere = f"/api/projects/{other['id']}/secrets"
    assert (await client.post(elsewhere, json=answer)).status_code == 201
    assert await revealed(client, elsewhere, "A") == "v"


@pytest.mark.shared
async def test_an_upsert_counts_and_leaves_others(client: httpx.AsyncClient, path: str) -> None:
    for key in ("KEPT", "SAME", "CHANGED"):
        await client.post(path, json={"key": key, "value": f"old {key}"})
    before = {s["key"]: s for s in (await client.get(path)).json()["secrets"]}
    response = await client.put(
        path,
        json={
            "secrets": [
                {"key": "SAME", "value": "old SAME"},
                {"key": "NEW", "value": "new"},
                {"key": "CHANGED", "value": "new"},
                {"key": "NEWER", "value": "new"},
            ]
        },
    )
    assert response.status_code == 200
    assert response.json() == {"created": 2, "updated": 1, "unchanged": 1}
    after = {s["key"]: s for s in (await client.get(path)).json()["secrets"]}
    assert after["KEPT"] == before["KEPT"]
    assert after["SAME"] == before["SAME"]
    assert [after[key]["version"] for key in ("CHANGED", "NEW", "NEWER")] == [2, 1, 1]
    assert [await revealed(client, path, key) for key in sorted(after)] == [
        "new",
        "old KEPT",
        "new",
        "new",
        "old SAME",
    ]


@pytest.mark.shared
async def test_an_upsert_of_nothing_does_nothing(
    client: httpx.AsyncClient, application: FastAPI, path: str
) -> None:
    before = all_rows(manager_of(application))
    response = await client.put(path, json={"secrets": []})
    assert response.json() == {"created": 0, "updated": 0, "unchanged": 0}
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "/secrets"),
        ({"secrets": None}, "/secrets"),
        ({"secrets": {"A": "v"}}, "/secrets"),
        ({"secrets": ["A"]}, "/secrets/0"),
        ({"secrets": [{"key": "A", "value": "v"}] * 2}, "/secrets/1/key"),
        (
            {"secrets": [{"key": "A", "value": "v"}, {"key_name": "A", "value": "w"}]},
            "/secrets/1/key",
        ),
        ({"secrets": [{"key": f"K{n}", "value": "v"} for n in range(501)]}, "/secrets"),
        ({"secrets": [], "more": 1}, "/more"),
        ({"secrets": [{"key": "A", "value": "v", "x": 1}]}, "/secrets/0/x"),
    ],
)
async def test_an_upsert_that_is_not_understood_does_nothing(
    client: httpx.AsyncClient, application: FastAPI, path: str, body: Any, place: str
) -> None:
    before = all_rows(manager_of(application))
    assert places(await client.put(path, json=body)) == [place]
    if "secrets" in body and place.startswith("/secrets"):
        project = new_project(secrets=body["secrets"])
        assert places(await client.post("/api/projects", json=project)) == [place]
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
async def test_five_hundred_at_once(client: httpx.AsyncClient, path: str) -> None:
    secrets = [{"key": f"KEY_{number}", "value": f"v{number}"} for number in range(500)]
    assert (await client.put(path, json={"secrets": secrets})).json()["created"] == 500
    assert (await client.put(path, json={"secrets": secrets})).json()["unchanged"] == 500
    assert await revealed(client, path, "KEY_499") == "v499"


@pytest.mark.shared
async def test_a_deleted_secret_is_gone(client: httpx.AsyncClient, path: str) -> None:
    await client.put(f"{path}/A", json={"value": "one"})
    await client.put(f"{path}/A", json={"value": "two"})
    response = await client.delete(f"{path}/A")
    assert (response.status_code, response.content) == (204, b"")
    problem(await client.get(f"{path}/A"), "secret_not_found")
    problem(await client.get(f"{path}/A/value"), "secret_not_found")
    problem(await client.delete(f"{path}/A"), "secret_not_found")
    # No version is given twice.
    again = await client.put(f"{path}/A", json={"value": "three"})
    assert (again.status_code, again.json()["version"]) == (201, 3)
    assert await revealed(client, path, "A") == "three"


@pytest.mark.shared
async def test_secrets_of_no_project(client: httpx.AsyncClient) -> None:
    path = "/api/projects/77/secrets"
    secret = {"key": "A", "value": "v"}
    problem(await client.get(path), "project_not_found")
    problem(await client.post(path, json=secret), "project_not_found")
    problem(await client.put(path, json={"secrets": [secret]}), "project_not_found")
    problem(await client.put(f"{path}/A", json={"value": "v"}), "project_not_found")
    problem(await client.get(f"{path}/A"), "project_not_found")
    problem(await client.get(f"{path}/A/value"), "project_not_found")
    problem(await client.delete(f"{path}/A"), "project_not_found")


@pytest.mark.shared
async def test_the_value_of_another_project_s_secret_is_not_there(
    client: httpx.AsyncClient, path: str
) -> None:
    await client.put(f"{path}/A", json={"value": "v"})
    other = await make_project(client)
    problem(await client.get(f"/api/projects/{other['id']}/secrets/A/value"), "secret_not_found")
