"""A guarded row with a text that is not UTF-8 is refused, named, shown and replaced like any other
forged row."""

import sqlite3
from typing import Any

import pytest

from backend.repositories.guarded_kinds import GUARDED_KINDS
from backend.services.audit.verification import verify_audit
from tests.guard.world import NEW_TOKEN, World, outside, running
from tests.support.clients import new_token
from tests.support.http import problem, service_of
from tests.support.webhooks import TOKEN, deliver

SHOWN = "a\ufffd"
"""What is shown of the bytes that `damage` writes."""


def damage(world: World, table: str, column: str, where: str, stored: bytes = b"a\xff") -> None:
    """Write a text that is not UTF-8."""
    with outside(world.database) as db:
        change = f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE {where}"  # noqa: S608
        assert db.execute(change, (stored,)).rowcount == 1


@pytest.mark.parametrize(
    "column", ["name", "mac", "scopes", "project_ids", "created_at", "expires_at", "revoked_at"]
)
async def test_a_token_opens_nothing_and_can_be_revoked(world: World, column: str) -> None:
    damage(world, "api_tokens", column, "id = 4")
    async with running(world) as service:
        await service.check_verify()
        narrow = await service.with_token("narrow")
        problem(await narrow.get("/api/projects"), "unauthenticated")
        shown = (await service.client.get("/api/tokens/4")).json()
        assert shown.get(column, SHOWN) in (SHOWN, [])
        listed = (await service.client.get("/api/tokens", params={"revoked": True})).json()
        assert shown in listed["tokens"]
        assert (await service.client.delete("/api/tokens/4")).status_code == 204
        assert service.faults() == []
        problem(await narrow.get("/api/projects"), "unauthenticated")


@pytest.mark.parametrize("column", ["ciphertext", "created_at", "updated_at"])
async def test_a_secret_is_unreadable_until_it_is_set_again(world: World, column: str) -> None:
    damage(world, "project_secrets", column, "project_id = 1 AND key_name = 'OTHER'")
    path = "/api/projects/1/secrets/OTHER"
    async with running(world) as service:
        await service.check_verify()
        problem(await service.client.get(f"{path}/value"), "secret_unreadable")
        listed = (await service.client.get("/api/projects/1/secrets")).json()["secrets"]
        assert {one["key"]: one["status"] for one in listed} == {
            "KEY": "ok",
            "LIFE": "ok",
            "OTHER": "unreadable",
        }
        assert (await service.client.put(path, json={"value": "new"})).is_success
        assert (await service.client.get(f"{path}/value")).json()["value"] == "new"
        assert service.faults() == []


async def test_a_secret_under_another_name_is_missing_and_inserted(world: World) -> None:
    damage(world, "project_secrets", "key_name", "project_id = 1 AND key_name = 'OTHER'")
    async with running(world) as service:
        assert await service.named_by_verify() == {
            "projects/1/secrets/OTHER",
            f"projects/1/secrets/{SHOWN}",
        }
        answer = await service.client.get("/api/projects/1/secrets/OTHER/value")
        problem(answer, "secret_unreadable")
        listed = (await service.client.get("/api/projects/1/secrets")).json()["secrets"]
        assert (SHOWN, "unreadable") in [(one["key"], one["status"]) for one in listed]
        purged = await service.client.delete("/api/projects/1", params={"purge": True})
        assert purged.status_code == 204
        assert service.faults() == []


@pytest.mark.parametrize("column", ["planning_statement", "branch_name"])
async def test_a_configuration_is_followed_by_no_agent(world: World, column: str) -> None:
    damage(world, "project_settings", column, "project_id = 1")
    path = "/api/projects/1/configuration"
    async with running(world) as service:
        await service.check_verify()
        problem(await service.client.get(path), "changed_outside")
        claim = {"worker": "w", "count": 2}
        claimed = await service.client.post("/api/agent-runs/claim", json=claim)
        assert [run["project_id"] for run in claimed.json()["agent_runs"]] == [2]
        whole = {
            "planning_statement": None,
            "repository_rules": None,
            "setup_commands": None,
            "branch_name": "main",
        }
        problem(await service.client.patch(path, json={"branch_name": "b"}), "changed_outside")
        assert (await service.client.patch(path, json=whole)).is_success
        assert service.faults() == []


@pytest.mark.parametrize("column", ["name", "github_owner", "status", "webhook_url", "updated_at"])
async def test_a_project_is_shown_and_not_changed(world: World, column: str) -> None:
    damage(world, "projects", column, "id = 1")
    async with running(world) as service:
        await service.check_verify()
        shown = (await service.client.get("/api/projects/1")).json()
        assert shown[column] == SHOWN
        for sort in ("name", "-updated_at"):
            listed = await service.client.get("/api/projects", params={"sort": sort, "limit": 5})
            assert shown in listed.json()["projects"]
        change = await service.client.patch("/api/projects/1", json={"name": "n"})
        problem(change, "changed_outside")
        whole: dict[str, Any] = {
            name: shown[name] for name in ("auto_merge_enabled", "auto_confirm_plans")
        }
        whole |= {"name": "n", "github_owner": "acme", "github_repo": "first"}
        whole |= {"status": "active", "webhook_url": None}
        assert (await service.client.patch("/api/projects/1", json=whole)).is_success
        assert service.faults() == []


@pytest.mark.parametrize(
    "column", ["webhook_type", "webhook_url", "events", "secret_ciphertext", "created_at"]
)
async def test_a_webhook_takes_no_delivery_until_it_is_deleted(world: World, column: str) -> None:
    damage(world, "webhooks", column, "id = 1")
    async with running(world) as service:
        await service.check_verify()
        for token in (TOKEN, NEW_TOKEN):
            problem(await deliver(service.client, 1, token=token), "unauthenticated")
        shown = (await service.client.get("/api/webhooks/1")).json()
        assert shown.get(column, SHOWN) in (SHOWN, [])
        listed = (await service.client.get("/api/projects/1/webhooks")).json()["webhooks"]
        assert listed == [shown]
        assert (await service.client.delete("/api/webhooks/1")).status_code == 204
        assert service.faults() == []


async def test_no_row_hides_another_from_verify(world: World) -> None:
    for table, column, where in (
        ("api_tokens", "name", "id = 1"),
        ("projects", "name", "id = 2"),
        ("project_settings", "branch_name", "project_id = 1"),
        ("project_secrets", "ciphertext", "project_id = 1 AND key_name = 'KEY'"),
        ("webhooks", "events", "id = 3"),
    ):
        damage(world, table, column, where)
    with outside(world.database) as db:
        db.execute("UPDATE api_tokens SET name = 'other' WHERE id = 4")
    async with running(world) as service:
        assert await service.named_by_verify() == {
            "tokens/1",
            "tokens/4",
            "projects/2",
            "projects/1/configuration",
            "projects/1/secrets/KEY",
            "webhooks/3",
        }


async def test_it_differs_from_the_text_that_is_shown_for_it(world: World) -> None:
    async with running(world) as service:
        world.tokens["shown"] = await new_token(service.client, "projects:read", name=SHOWN)
        assert (await (await service.with_token("shown")).get("/api/projects")).is_success
    damage(world, "api_tokens", "name", f"name = '{SHOWN}'")
    async with running(world) as service:
        assert len(await service.named_by_verify()) == 1
        problem(await (await service.with_token("shown")).get("/api/projects"), "unauthenticated")


async def test_an_entry_of_the_audit_is_named_and_listed(world: World) -> None:
    damage(world, "audit_entries", "actor", "id = 7")
    async with running(world) as service:
        use_cases = service_of(service.app)
        problem_found = verify_audit(use_cases.db_manager, use_cases.audit.chain)
        assert str(problem_found) == "audit entry 7 can't be read"
        [entry] = [
            entry
            for entry in (await service.client.get("/api/audit")).json()["entries"]
            if entry["id"] == 7
        ]
        assert entry["actor"] == SHOWN


@pytest.mark.parametrize("kind", GUARDED_KINDS, ids=lambda kind: kind.table)
def test_no_column_takes_bytes_in_the_place_of_a_text(world: World, kind: Any) -> None:
    with outside(world.database) as db:
        for _, column, declared, *_ in db.execute(f"PRAGMA table_info({kind.table})").fetchall():
            if declared == "TEXT":
                with pytest.raises(sqlite3.IntegrityError, match="cannot store BLOB value"):
                    db.execute(f"UPDATE {kind.table} SET {column} = x'ff'")  # noqa: S608


async def test_a_huge_text_is_an_item_of_its_own(world: World) -> None:
    damage(world, "projects", "name", "id = 2", b"\xff" * 5_000_000)
    async with running(world) as service:
        params = {"sort": "-created_at"}
        first = (await service.client.get("/api/projects", params=params)).json()
        assert [one["id"] for one in first["projects"]] == [2]
        params["cursor"] = first["next_cursor"]
        second = (await service.client.get("/api/projects", params=params)).json()
        assert [one["id"] for one in second["projects"]] == [1]
