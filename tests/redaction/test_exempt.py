"""Secrets that are exempt from redaction: `"redact": false`."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backend.schemas.projects import ProjectDocument
from config.settings import Settings
from database.migrator import load_migrations
from tests.guard.world import World, running
from tests.redaction.encodings import KEY, MARKER
from tests.redaction.support import SECRETS, leaks, put
from tests.support.api import Api, Json
from tests.support.earlier import forget_counts
from tests.support.http import problem
from tests.support.logs import log, messages, send

VALUE = "hunter2hunter2"
SECRET = f"{SECRETS}/{KEY}"


async def is_redacted(api: Api) -> bool:
    await send(api, log(VALUE, project_id=1))
    return (await messages(api))[0] == MARKER


async def test_a_secret_is_redacted_unless_it_is_exempt(api: Api) -> None:
    made = await api.post(SECRETS, {"key": KEY, "value": VALUE}, 201)
    assert made["redact"] is True
    other = await api.post(SECRETS, {"key": "B", "value": f"{VALUE}!", "redact": False}, 201)
    assert other["redact"] is False
    listed = (await api.get(SECRETS))["secrets"]
    assert {secret["key"]: secret["redact"] for secret in listed} == {KEY: True, "B": False}
    full = (await api.get("/api/projects/1/full"))["secrets"]
    assert full == listed
    await send(api, log(f"{VALUE}!", project_id=1))
    assert await messages(api) == [f"{MARKER}!"]
    assert [resource for resource, _ in await leaks(api)] == [f"projects/1/secrets/{KEY}"]


async def test_exemption_alone_makes_a_new_version(api: Api) -> None:
    await put(api, value=VALUE)
    before = await api.client.get(SECRET)
    changed = await api.call("PUT", SECRET, {"redact": False})
    assert (changed["version"], changed["redact"], changed["status"]) == (2, False, "ok")
    after = await api.client.get(SECRET, headers={"If-None-Match": before.headers["ETag"]})
    assert after.json() == changed
    assert (await api.get(f"{SECRET}/value"))["value"] == VALUE
    assert not await is_redacted(api)
    events = (await api.get("/api/events?kind=secret.updated"))["events"]
    assert [event["fields"] for event in events] == [["redact"]]
    # The same again changes nothing, nor does what was read.
    for body in ({"redact": False}, changed, {"value": VALUE}, {"value": VALUE, "redact": None}):
        assert (await api.call("PUT", SECRET, body))["version"] == 2
    both = await api.call("PUT", SECRET, {"value": "another value", "redact": True})
    assert (both["version"], both["redact"]) == (3, True)
    events = (await api.get("/api/events?kind=secret.updated"))["events"]
    assert events[-1]["fields"] == ["redact", "value"]


async def test_a_stale_etag_refuses_an_exemption(api: Api) -> None:
    await put(api, value=VALUE)
    await put(api, value="another value")
    response = await api.client.put(SECRET, json={"redact": False}, headers={"If-Match": '"v1"'})
    problem(response, "version_mismatch")
    assert (await api.get(SECRET))["redact"] is True


async def test_lists_say_it_for_each_secret(api: Api) -> None:
    counts = {"created": 0, "updated": 0, "unchanged": 0}
    assert await put(api, redact=False) == {**counts, "created": 1}
    assert not await is_redacted(api)
    assert await put(api) == {**counts, "unchanged": 1}
    assert await put(api, redact=False) == {**counts, "unchanged": 1}
    assert await put(api, redact=True) == {**counts, "updated": 1}
    assert await is_redacted(api)
    assert await put(api, value="another value", redact=False) == {**counts, "updated": 1}
    # A value that is replaced stays exempt.
    assert await put(api, value=VALUE) == {**counts, "updated": 1}
    assert not await is_redacted(api)
    body = {"secrets": [{"key": KEY, "redact": True}, {"key": "B", "value": "b", "redact": False}]}
    assert await api.call("PUT", SECRETS, body) == {"created": 1, "updated": 1, "unchanged": 0}
    assert await is_redacted(api)
    read = (await api.get(SECRETS))["secrets"]
    answer = await api.call("PUT", SECRETS, {"secrets": read})
    assert answer == {"created": 0, "updated": 0, "unchanged": 2}
    assert [secret["redact"] for secret in read] == [False, True]


@pytest.mark.parametrize("body", [{}, {"value": None}, {"value": None, "redact": False}])
async def test_there_must_be_something_to_change(api: Api, body: Json) -> None:
    await put(api)
    await api.call("PUT", SECRET, body, 422)
    await api.call("PUT", SECRETS, {"secrets": [{"key": KEY, **body}]}, 422)


@pytest.mark.parametrize("redact", ["false", 0, 1, [], {}])
async def test_it_is_true_or_false(api: Api, redact: Any) -> None:
    await api.post(SECRETS, {"key": KEY, "value": VALUE, "redact": redact}, 422)
    await api.call("PUT", SECRET, {"value": VALUE, "redact": redact}, 422)


async def test_a_new_secret_needs_a_value(api: Api) -> None:
    await api.call("PUT", SECRET, {"redact": False}, 422)
    await api.call("PUT", SECRETS, {"secrets": [{"key": KEY, "redact": False}]}, 422)


async def test_a_project_is_created_with_it(api: Api) -> None:
    secrets = [{"key": "A", "value": VALUE, "redact": False}, {"key": "B", "value": "b" * 12}]
    id = await api.new_project("other", secrets=secrets)
    await send(api, log(f"{VALUE} bbbbbbbbbbbb", project_id=id))
    assert await messages(api) == [f"{VALUE} [secret:B]"]


async def test_it_stays_with_the_secret(api: Api) -> None:
    await put(api, value="another value")
    await put(api, value=VALUE, redact=False)
    # A rollback is about the value; the earlier one was redacted.
    rolled = await api.post(f"{SECRET}/rollback", {"version": 1})
    assert (rolled["version"], rolled["redact"]) == (3, False)
    await api.call("DELETE", SECRET, status=204)
    restored = await api.post(f"{SECRET}/restore")
    assert (restored["version"], restored["redact"]) == (3, False)
    await api.service.rotation.begin(reencrypt=True)
    await api.service.rotation.run()
    assert (await api.get(SECRET))["redact"] is False
    await api.call("DELETE", SECRET, status=204)
    # A new secret of the key is like any other.
    made = await api.post(SECRETS, {"key": KEY, "value": VALUE}, 201)
    assert (made["version"], made["redact"]) == (4, True)


async def test_documents_carry_it(api: Api) -> None:
    def document(**members: Any) -> ProjectDocument:
        fields = {"name": "p", "github_owner": "acme", "github_repo": "payments"}
        return ProjectDocument.model_validate(fields | members)

    documents = api.service.documents
    exempt = document(secrets={KEY: VALUE, "B": "b"}, unredacted=[KEY])
    assert await documents.import_one(exempt) == "updated"
    assert await documents.import_one(exempt) == "unchanged"
    assert not await is_redacted(api)
    # What a document does not say stays.
    assert await documents.import_one(document(secrets={KEY: VALUE})) == "unchanged"
    page = await documents.reveal(limit=10, after=None)
    [exported] = page.documents
    assert exported.content["unredacted"] == [KEY]
    assert "unredacted" not in (await documents.export(limit=10, after=None)).documents[0].content


async def test_an_unreadable_secret_needs_its_value_with_it(api: Api, database_path: Path) -> None:
    await put(api)
    with sqlite3.connect(database_path) as db:
        db.execute("UPDATE project_secrets SET ciphertext = 'x'")
    await api.call("PUT", SECRET, {"redact": False}, 409)
    changed = await api.call("PUT", SECRET, {"value": VALUE, "redact": False})
    assert changed["redact"] is False
    assert not await is_redacted(api)


@pytest.fixture
async def world(settings: Settings) -> World:
    """An installation with a secret."""
    world = World(settings)
    async with running(world) as service:
        body = {"name": "p", "github_owner": "acme", "github_repo": "p"}
        secrets = [{"key": "KEY", "value": VALUE}]
        answer = await service.client.post("/api/projects", json={**body, "secrets": secrets})
        assert answer.is_success
    return world


async def test_another_program_can_not_exempt_a_secret(world: World) -> None:
    with sqlite3.connect(world.database) as db:
        db.execute("UPDATE project_secrets SET redact = 0")
    async with running(world) as service:
        client = service.client
        assert (await client.get("/api/projects/1/secrets/KEY")).json()["status"] == "unreadable"
        assert "projects/1/secrets/KEY" in await service.named_by_verify()
        body = {"level": "INFO", "message": VALUE, "project_id": 1}
        assert (await client.post("/api/logs", json=body)).is_success
        assert (await client.get("/api/logs?project_id=1")).json()["logs"][0]["message"] == (
            "[secret:KEY]"
        )


async def test_secrets_of_an_earlier_version_are_redacted_and_genuine(world: World) -> None:
    async with running(world) as service:
        for value in ("another value", VALUE):
            answer = await service.client.put(f"{SECRETS}/KEY", json={"value": value})
            assert answer.is_success
    with sqlite3.connect(world.database) as db:
        forget_counts(db)
        for table in ("project_secrets", "secret_versions"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN redact")
        [number] = [one.version for one in load_migrations() if one.name.endswith("add_redaction")]
        db.execute("DELETE FROM schema_migrations WHERE version >= ?", (number,))
    async with running(world) as service:
        client = service.client
        assert await service.named_by_verify() == set()
        secret = (await client.get(f"{SECRETS}/KEY")).json()
        assert (secret["version"], secret["status"], secret["redact"]) == (3, "ok", True)
        body = {"level": "INFO", "message": VALUE, "project_id": 1}
        assert (await client.post("/api/logs", json=body)).is_success
        stored = (await client.get("/api/logs?project_id=1")).json()["logs"]
        assert stored[0]["message"] == "[secret:KEY]"
        versions = (await client.get(f"{SECRETS}/KEY/versions")).json()["versions"]
        assert [version["status"] for version in versions] == ["ok"] * 3
        assert (await client.put(f"{SECRETS}/KEY", json={"redact": False})).is_success
        assert await service.named_by_verify() == set()
