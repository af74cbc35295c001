"""Webhooks over HTTP: created, read, changed and deleted."""

from typing import Any

import httpx
import pytest

from tests.support.clients import AsToken
from tests.support.http import TIME, make_project, places, problem, walk
from tests.support.webhooks import TOKEN, make_webhook

FIELDS = {
    "webhook_type": "cloudflare",
    "webhook_url": "https://hooks.example.com/x?y=z",
    "events": ["pull_request", "check_run", "a.b-c_*", "x" * 100],
    "is_active": False,
}


async def audited(client: httpx.AsyncClient) -> list[tuple[str, str, list[str]]]:
    """The audit's entries about webhooks, the oldest first."""
    entries = (await client.get("/api/audit", params={"limit": 500})).json()["entries"]
    return [
        (entry["action"], entry["target"], entry["fields"])
        for entry in reversed(entries)
        if entry["action"].startswith("webhook")
    ]


@pytest.mark.shared
async def test_a_webhook_is_made_as_it_was_given(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}/webhooks"
    response = await client.post(path, json={**FIELDS, "secret_token": TOKEN})
    assert response.status_code == 201
    made = response.json()
    assert TIME.fullmatch(made["created_at"])
    assert made == {
        **FIELDS,
        "id": made["id"],
        "project_id": project["id"],
        "has_secret_token": True,
        "last_triggered_at": None,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "version": 1,
    }
    assert response.headers["location"] == f"/api/webhooks/{made['id']}"
    assert (await client.get(response.headers["location"])).json() == made


@pytest.mark.shared
async def test_all_but_the_type_may_be_left_out(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    path = f"/api/projects/{project['id']}/webhooks"
    made = (await client.post(path, json={"webhook_type": "custom"})).json()
    assert made["events"] == []
    assert made["webhook_url"] is None
    assert (made["is_active"], made["has_secret_token"]) == (True, False)
    assert places(await client.post(path, json={})) == ["/webhook_type"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"webhook_type": "github"}, "/webhook_type"),
        ({"webhook_type": None}, "/webhook_type"),
        ({"webhook_url": "ftp://hooks.example.com"}, "/webhook_url"),
        ({"webhook_url": "https://user:pw@hooks.example.com"}, "/webhook_url"),
        ({"events": "push"}, "/events"),
        ({"events": None}, "/events"),
        ({"events": ["push", ""]}, "/events/1"),
        ({"events": ["Push"]}, "/events/0"),
        ({"events": ["push\n"]}, "/events/0"),
        ({"events": ["x" * 101]}, "/events/0"),
        ({"events": ["a b"]}, "/events/0"),
        ({"events": [1]}, "/events/0"),
        ({"events": ["push", "ping", "push"]}, "/events"),
        ({"events": [f"e{n}" for n in range(101)]}, "/events"),
        ({"is_active": 1}, "/is_active"),
        ({"is_active": None}, "/is_active"),
        ({"secret_token": ""}, "/secret_token"),
        ({"secret_token": "t"}, "/secret_token"),
        ({"secret_token": "1234567"}, "/secret_token"),
        ({"secret_token": "éééé"}, "/secret_token"),
        ({"secret_token": 5}, "/secret_token"),
        ({"secret_token": "a\0b"}, "/secret_token"),
        ({"secret_token": "é" * 32_769}, "/secret_token"),
        ({"secret": "x"}, "/secret"),
    ],
)
async def test_a_wrong_value_is_told_by_its_place_and_changes_nothing(
    client: httpx.AsyncClient, change: dict[str, Any], place: str
) -> None:
    made = await make_webhook(client)
    path = f"/api/projects/{made['project_id']}/webhooks"
    assert places(await client.post(path, json={"webhook_type": "custom", **change})) == [place]
    assert places(await client.patch(f"/api/webhooks/{made['id']}", json=change)) == [place]
    assert await walk(client, path, "webhooks") == [made]


@pytest.mark.shared
async def test_the_given_fields_change_and_the_others_stay(client: httpx.AsyncClient) -> None:
    made = await make_webhook(client, events=["push"])
    path = f"/api/webhooks/{made['id']}"
    changed = (await client.patch(path, json=FIELDS)).json()
    assert changed == {**made, **FIELDS, "updated_at": changed["updated_at"], "version": 2}
    assert changed["updated_at"] > made["updated_at"]
    cleared = (await client.patch(path, json={"webhook_url": None, "events": []})).json()
    assert (cleared["webhook_url"], cleared["events"], cleared["version"]) == (None, [], 3)
    assert cleared["has_secret_token"] is True


@pytest.mark.shared
async def test_what_was_read_can_be_sent_back(client: httpx.AsyncClient) -> None:
    made = await make_webhook(client, **FIELDS)
    path = f"/api/webhooks/{made['id']}"
    assert (await client.patch(path, json=made)).json() == made
    assert (await client.patch(path, json={})).json() == made
    copy = await client.post(f"/api/projects/{made['project_id']}/webhooks", json=made)
    assert copy.status_code == 201
    # A token that can't be shown is not copied either.
    assert copy.json()["has_secret_token"] is False


@pytest.mark.shared
async def test_a_webhook_that_was_taken_away_is_gone(client: httpx.AsyncClient) -> None:
    made = await make_webhook(client)
    path = f"/api/webhooks/{made['id']}"
    response = await client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    for gone in (
        await client.get(path),
        await client.patch(path, json={}),
        await client.delete(path),
        await client.get(f"{path}/deliveries"),
        await client.get(f"{path}/deliveries/1"),
    ):
        problem(gone, "webhook_not_found")


@pytest.mark.shared
async def test_a_list_is_paged_newest_first(client: httpx.AsyncClient) -> None:
    project_id = (await make_project(client))["id"]
    other = await make_webhook(client)
    made = [await make_webhook(client, project_id=project_id) for _ in range(7)]
    path = f"/api/projects/{project_id}/webhooks"
    for limit in (1, 3, 7, 500):
        assert await walk(client, path, "webhooks", limit=limit) == made[::-1]
    cursor = (await client.get(path, params={"limit": 3})).json()["next_cursor"]
    another = f"/api/projects/{other['project_id']}/webhooks"
    problem(await client.get(another, params={"cursor": cursor}), "bad_cursor")
    problem(await client.get(path, params={"cursor": cursor[:-1]}), "bad_cursor")


async def test_webhooks_of_a_missing_project_are_not_there(client: httpx.AsyncClient) -> None:
    problem(await client.get("/api/projects/9/webhooks"), "project_not_found")
    body = {"webhook_type": "custom"}
    problem(await client.post("/api/projects/9/webhooks", json=body), "project_not_found")


@pytest.mark.shared
async def test_webhooks_of_a_deleted_project_can_only_be_read(client: httpx.AsyncClient) -> None:
    made = await make_webhook(client)
    path, of_project = f"/api/webhooks/{made['id']}", f"/api/projects/{made['project_id']}"
    await client.delete(of_project)
    assert (await client.get(path)).json() == made
    assert await walk(client, f"{of_project}/webhooks", "webhooks") == [made]
    for refused in (
        await client.patch(path, json={"is_active": False}),
        await client.delete(path),
        await client.post(f"{of_project}/webhooks", json={"webhook_type": "custom"}),
    ):
        problem(refused, "project_not_found")
    assert (await client.post(f"{of_project}/restore")).status_code == 200
    assert (await client.patch(path, json={"is_active": False})).json()["version"] == 2


@pytest.mark.shared
async def test_purging_the_project_takes_its_webhooks_along(client: httpx.AsyncClient) -> None:
    made = await make_webhook(client)
    purged = await client.delete(f"/api/projects/{made['project_id']}", params={"purge": "true"})
    assert purged.status_code == 204
    problem(await client.get(f"/api/webhooks/{made['id']}"), "webhook_not_found")


async def test_every_change_is_in_the_audit_by_its_field_names(client: httpx.AsyncClient) -> None:
    made = await make_webhook(client, events=["push"])
    path, target = f"/api/webhooks/{made['id']}", f"webhooks/{made['id']}"
    await client.patch(path, json={"events": ["push"], "is_active": False})
    await client.patch(path, json={"is_active": False})
    await client.patch(path, json={"secret_token": TOKEN})
    await client.patch(path, json={"secret_token": "another one", "is_active": False})
    await client.delete(path)
    await client.delete(path)
    assert await audited(client) == [
        ("webhook.created", target, ["events", "secret_token", "webhook_type"]),
        ("webhook.updated", target, ["is_active"]),
        ("webhook.updated", target, ["secret_token"]),
        ("webhook.deleted", target, []),
    ]


@pytest.mark.shared
async def test_a_webhook_of_an_invisible_project_looks_like_none(
    client: httpx.AsyncClient, as_token: AsToken
) -> None:
    hidden, seen = await make_webhook(client), await make_webhook(client)
    bound = await as_token("projects:read", "projects:write", project_ids=[seen["project_id"]])
    same = {"X-Request-ID": "same"}
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"is_active": False}),
        ("DELETE", "", None),
        ("GET", "/deliveries", None),
        ("GET", "/deliveries/1", None),
    ):
        answers = [
            await bound.request(method, f"/api/webhooks/{n}{path}", headers=same, json=body)
            for n in (hidden["id"], 99)
        ]
        problem(answers[0], "webhook_not_found")
        assert answers[0].content == answers[1].content
    path = f"/api/projects/{hidden['project_id']}/webhooks"
    problem(await bound.get(path), "project_not_found")
    problem(await bound.post(path, json={"webhook_type": "custom"}), "project_not_found")
    assert (await bound.get(f"/api/webhooks/{seen['id']}")).json() == seen
    assert (await client.get(f"/api/webhooks/{hidden['id']}")).json() == hidden


@pytest.mark.shared
async def test_each_call_asks_for_its_scope(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, as_token: AsToken
) -> None:
    made = await make_webhook(client)
    path, of_project = f"/api/webhooks/{made['id']}", f"/api/projects/{made['project_id']}"
    calls: list[tuple[str, str, str]] = [
        ("GET", path, "projects:read"),
        ("GET", f"{path}/deliveries", "projects:read"),
        ("GET", f"{path}/deliveries/1", "projects:read"),
        ("GET", f"{of_project}/webhooks", "projects:read"),
        ("POST", f"{of_project}/webhooks", "projects:write"),
        ("PATCH", path, "projects:write"),
        ("DELETE", path, "projects:write"),
    ]
    other = await as_token("runs:write", "logs:write", "secrets:write")
    for method, url, scope in calls:
        assert problem(await other.request(method, url), "forbidden")["scope"] == scope
        problem(await sender.request(method, url), "unauthenticated")
    assert (await client.get(path)).json() == made
