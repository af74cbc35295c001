"""Versions of secrets over HTTP: list, reveal, roll back, restore, destroy, purge."""

from typing import Any

import httpx
import pytest

from tests.support.api import Api
from tests.support.clients import AsToken
from tests.support.clocks import SetClock
from tests.support.http import problem

SECRETS = "/api/projects/1/secrets"
PATH = f"{SECRETS}/KEY"
DAY = 86_400.0


async def put(api: Api, *values: str) -> None:
    for value in values:
        answer = await api.client.put(PATH, json={"value": value})
        assert answer.is_success, answer.text


async def value(api: Api, version: int, status: int = 200) -> Any:
    answer = await api.get(f"{PATH}/versions/{version}/value", status)
    return answer["value"] if status == 200 else answer["code"]


async def shown(api: Api) -> list[tuple[int, str]]:
    """The versions in the list, with their status."""
    versions = (await api.get(f"{PATH}/versions"))["versions"]
    return [(one["version"], one["status"]) for one in versions]


async def delete(api: Api, query: str = "", status: int = 204) -> None:
    await api.call("DELETE", PATH + query, status=status)


async def destroy(api: Api, version: int, status: int = 204) -> None:
    await api.call("DELETE", f"{PATH}/versions/{version}", status=status)


async def test_the_list_has_every_version_without_its_value(api: Api) -> None:
    await put(api, "first", "second", "third")
    answer = await api.client.get(f"{PATH}/versions")
    listed = answer.json()["versions"]
    assert [one["version"] for one in listed] == [3, 2, 1]
    assert all(one["fields"] == ["value"] and one["actor"] == "anonymous" for one in listed)
    assert all(one["deleted_at"] is one["destroyed_at"] is None for one in listed)
    assert not any(word in answer.text for word in ("first", "second", "third"))
    assert await shown(api) == [(3, "ok"), (2, "ok"), (1, "ok")]


async def test_pages_of_versions_follow_one_another(api: Api) -> None:
    await put(api, *(f"value {number}" for number in range(5)))
    first = await api.get(f"{PATH}/versions?limit=3")
    rest = await api.get(f"{PATH}/versions?limit=3&cursor={first['next_cursor']}")
    assert [one["version"] for one in first["versions"] + rest["versions"]] == [5, 4, 3, 2, 1]
    assert rest["next_cursor"] is None


async def test_a_value_of_a_version_is_revealed_recorded_and_not_cached(api: Api) -> None:
    await put(api, "first", "second")
    answer = await api.client.get(f"{PATH}/versions/1/value")
    assert answer.json() == {"key": "KEY", "value": "first", "version": 1}
    assert answer.headers["cache-control"] == "no-store"
    assert await value(api, 2) == "second"
    assert await value(api, 3, 404) == "version_not_found"
    rows = await api.service.db_manager.async_pool.fetch_all(
        "SELECT target, version FROM audit_entries WHERE action = 'secret.revealed' ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        ("projects/1/secrets/KEY", 1),
        ("projects/1/secrets/KEY", 2),
    ]


async def test_it_needs_its_scope_and_refusals_are_recorded(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    body = {"name": "p", "github_owner": "acme", "github_repo": "r"}
    project = (await client.post("/api/projects", json=body)).json()["id"]
    path = f"/api/projects/{project}/secrets/KEY"
    await client.put(path, json={"value": "v"})
    writer = await as_token("projects:read", "secrets:write")
    problem(await writer.get(f"{path}/versions/1/value"), "forbidden")
    entries = (await client.get("/api/audit?action=secret.reveal_refused")).json()["entries"]
    assert [entry["target"] for entry in entries] == [path.removeprefix("/api/")]
    # A rollback shows nothing of the value.
    answer = await writer.post(f"{path}/rollback", json={"version": 1})
    assert answer.json()["value"] is None
    reader = await as_token("projects:read", "secrets:reveal")
    for method, rest in (("POST", "/rollback"), ("POST", "/restore"), ("DELETE", "/versions/1")):
        sent = {"version": 1} if rest == "/rollback" else None
        problem(await reader.request(method, path + rest, json=sent), "forbidden")


async def test_a_rollback_is_a_new_version_with_an_earlier_value(api: Api) -> None:
    await put(api, "first", "second")
    rolled = await api.post(f"{PATH}/rollback", {"version": 1})
    assert (rolled["version"], rolled["value"], rolled["status"]) == (3, None, "ok")
    assert await value(api, 3) == await value(api, 1) == "first"
    # Also if that is its value already, so that versions can't be compared by it.
    assert (await api.post(f"{PATH}/rollback", {"version": 3}))["version"] == 4
    assert (await api.post(f"{PATH}/rollback", {"version": 9}, 404))["code"] == "version_not_found"
    actions = [action for _, action, _ in await api.actions()]
    assert actions.count("secret.rolled_back") == 2


async def test_a_deleted_secret_is_missing_but_its_versions_list(api: Api, clock: SetClock) -> None:
    await put(api, "first", "second")
    clock.advance(5)
    await delete(api)
    assert (await api.get(PATH, 404))["code"] == "secret_not_found"
    assert await value(api, 1, 404) == "secret_not_found"
    assert await shown(api) == [(2, "ok"), (1, "ok")]
    versions = (await api.get(f"{PATH}/versions"))["versions"]
    assert [one["deleted_at"] for one in versions] == [clock.text(), None]
    await delete(api, status=404)


async def test_a_deleted_secret_is_restored_in_its_last_version(api: Api) -> None:
    await put(api, "first", "second")
    before = await api.get(PATH)
    await delete(api)
    assert await api.post(f"{PATH}/restore") == before == await api.get(PATH)
    assert await value(api, 2) == "second"
    assert await value(api, 1) == "first"
    assert all(one["deleted_at"] is None for one in (await api.get(f"{PATH}/versions"))["versions"])
    # One that is not deleted stays as it is.
    assert await api.post(f"{PATH}/restore") == before
    assert [action for _, action, _ in await api.actions()][-3] == "secret.restored"
    assert (await api.post(f"{SECRETS}/NEVER/restore", status=404))["code"] == "secret_not_found"


async def test_thirty_days_later_it_is_not(api: Api, clock: SetClock) -> None:
    await put(api, "first")
    await delete(api)
    clock.advance(30 * DAY)
    await api.post(f"{PATH}/restore")
    await delete(api)
    clock.advance(30 * DAY + 1)
    assert (await api.post(f"{PATH}/restore", status=404))["code"] == "secret_not_found"
    rollback = await api.post(f"{PATH}/rollback", {"version": 1}, 404)
    assert rollback["code"] == "secret_not_found"


async def test_a_new_secret_of_the_key_is_the_next_version(api: Api) -> None:
    await put(api, "first", "second")
    await delete(api)
    made = await api.post(SECRETS, {"key": "KEY", "value": "third"}, 201)
    assert made["version"] == 3
    assert [await value(api, number) for number in (1, 2, 3)] == ["first", "second", "third"]
    await delete(api)
    await api.client.put(SECRETS, json={"secrets": [{"key": "KEY", "value": "fourth"}]})
    assert await shown(api) == [(4, "ok"), (3, "ok"), (2, "ok"), (1, "ok")]


async def test_a_rollback_brings_a_deleted_secret_back(api: Api) -> None:
    await put(api, "first", "second")
    await delete(api)
    assert (await api.post(f"{PATH}/rollback", {"version": 1}))["version"] == 3
    assert await value(api, 3) == "first"


async def test_a_destroyed_version_has_no_value_for_good(api: Api) -> None:
    await put(api, "first", "second", "third")
    for _ in range(2):
        await destroy(api, 1)
    assert await shown(api) == [(3, "ok"), (2, "ok"), (1, "destroyed")]
    assert await value(api, 1, 404) == "version_destroyed"
    rollback = await api.post(f"{PATH}/rollback", {"version": 1}, 404)
    assert rollback["code"] == "version_destroyed"
    assert await value(api, 2) == "second"
    entries = [entry for entry in await api.actions() if entry[1] == "secret.version_destroyed"]
    assert [target for _, _, target in entries] == ["projects/1/secrets/KEY/versions/1"]
    await destroy(api, 9, 404)
    await api.call("DELETE", f"{SECRETS}/NEVER/versions/1", status=404)


async def test_destroying_the_present_version_deletes_the_secret(api: Api) -> None:
    await put(api, "first", "second")
    await destroy(api, 2)
    await api.get(PATH, 404)
    assert await shown(api) == [(2, "destroyed"), (1, "ok")]
    assert (await api.post(f"{PATH}/restore", status=404))["code"] == "secret_not_found"
    assert (await api.post(f"{PATH}/rollback", {"version": 1}))["version"] == 3
    assert await value(api, 3) == "first"


@pytest.mark.parametrize("deleted_before", [False, True])
async def test_a_purge_destroys_all_versions_and_keeps_key_and_number(
    api: Api, deleted_before: bool
) -> None:
    await put(api, "first", "second", "third")
    if deleted_before:
        await delete(api)
    await delete(api, "?purge=true")
    await api.get(PATH, 404)
    assert await shown(api) == [(number, "destroyed") for number in (3, 2, 1)]
    assert (await api.post(f"{PATH}/restore", status=404))["code"] == "secret_not_found"
    await delete(api, "?purge=true", 404)
    made = await api.post(SECRETS, {"key": "KEY", "value": "fourth"}, 201)
    assert made["version"] == 4
    assert await value(api, 1, 404) == "version_destroyed"


async def test_only_the_newest_ten_are_there(api: Api) -> None:
    await put(api, *(f"value {number}" for number in range(1, 13)))
    assert [number for number, _ in await shown(api)] == list(range(12, 2, -1))
    assert await value(api, 3) == "value 3"
    assert await value(api, 2, 404) == "version_not_found"
    assert (await api.post(f"{PATH}/rollback", {"version": 2}, 404))["code"] == "version_not_found"


async def test_what_is_written_in_a_list_has_versions_too(api: Api) -> None:
    keys = [f"K{number}" for number in range(40)]
    for text in ("first", "second"):
        secrets = [{"key": key, "value": f"{text} {key}"} for key in keys]
        assert (await api.client.put(SECRETS, json={"secrets": secrets})).is_success
    for key in keys:
        answer = await api.get(f"{SECRETS}/{key}/versions/1/value")
        assert answer["value"] == f"first {key}"
