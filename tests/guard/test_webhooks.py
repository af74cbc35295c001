"""A webhook whose row was written from outside takes no deliveries, until it is replaced."""

import io
import sqlite3
from collections.abc import Callable

import pytest

from tests.guard.world import EARLIER, NEW_TOKEN, World, outside, put, row_of, running
from tests.support.http import problem
from tests.support.webhooks import TOKEN, deliver

Write = Callable[[sqlite3.Connection, World], None]
PATH = "/api/webhooks/1"
LAST_TOKEN = "a token for afterwards"
WHOLE = {
    "webhook_type": "github_pr",
    "webhook_url": None,
    "events": ["push"],
    "is_active": True,
    "secret_token": LAST_TOKEN,
}


def _set(column: str, value: object) -> Write:
    def write(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
        db.execute(f"UPDATE webhooks SET {column} = ? WHERE id = 1", (value,))  # noqa: S608

    return write


def _earlier_token(**changes: object) -> Write:
    def write(db: sqlite3.Connection, world: World) -> None:
        put(db, "webhooks", world.rows["webhook with its first token"], **changes)

    return write


def _only_the_token(db: sqlite3.Connection, world: World) -> None:
    """The first token with its version, in a row that is otherwise as it was."""
    now, first = row_of(db, "webhooks", "id = 1"), world.rows["webhook with its first token"]
    names = ("secret_ciphertext", "secret_version")
    put(db, "webhooks", now, **{name: first[name] for name in names})


def _no_token(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    db.execute("UPDATE webhooks SET secret_ciphertext = NULL, project_key_id = NULL WHERE id = 1")


def _token_of_another(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    other = row_of(db, "webhooks", "id = 3")
    names = ("secret_ciphertext", "project_key_id", "secret_version")
    put(db, "webhooks", row_of(db, "webhooks", "id = 1"), **{name: other[name] for name in names})


def _without_entries(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    db.execute("DELETE FROM audit_entries WHERE target = 'webhooks/1'")


def _with_the_earlier_digest(db: sqlite3.Connection, world: World) -> None:
    _earlier_token()(db, world)
    db.execute(
        "UPDATE audit_entries SET version = 1, digest = (SELECT digest FROM audit_entries"
        " WHERE target = 'webhooks/1' AND version = 1)"
        " WHERE target = 'webhooks/1' AND version = 2"
    )


FORGERIES: list[tuple[str, Write]] = [
    ("URL", _set("webhook_url", "https://evil.example/")),
    ("no URL", _set("webhook_url", None)),
    ("events", _set("events", '["evil"]')),
    ("type", _set("webhook_type", "custom")),
    ("inactive", _set("is_active", 0)),
    ("version", _set("version", 1)),
    ("largest version", _set("version", 2**63 - 1)),
    ("version of the token", _set("secret_version", 1)),
    ("time of creation", _set("created_at", EARLIER)),
    ("time of change", _set("updated_at", EARLIER)),
    ("the first token", _earlier_token()),
    ("the first token with the newest number", _earlier_token(version=2)),
    ("the first token in the row as it is", _only_the_token),
    ("no token", _no_token),
    ("the token of another", _token_of_another),
    ("a row without entries", _without_entries),
    ("the first token with its digest", _with_the_earlier_digest),
]
WITH_RECORD = (_without_entries, _with_the_earlier_digest)
FORGED = pytest.mark.parametrize("write", [pytest.param(write, id=id) for id, write in FORGERIES])


@FORGED
@pytest.mark.parametrize("while_running", [False, True], ids=["before", "while"])
async def test_it_takes_no_delivery_until_it_is_replaced(
    world: World, write: Write, while_running: bool, log: io.StringIO
) -> None:
    if not while_running:
        with outside(world.database) as db:
            write(db, world)
    async with running(world) as service:
        client = service.client
        if while_running:
            with outside(world.database) as db:
                write(db, world)
        await service.check_verify()
        for number, token in enumerate((TOKEN, NEW_TOKEN)):
            refused = await deliver(client, 1, guid=f"forged-{number}", token=token)
            problem(refused, "unauthenticated")
        problem(await client.patch(PATH, json={"events": ["push"]}), "changed_outside")

        replaced = await client.patch(PATH, json=WHOLE)
        assert replaced.status_code == 200, replaced.text
        if write not in WITH_RECORD:
            assert replaced.json()["version"] == 3
            assert service.faults() == []
        assert (await deliver(client, 1, guid="afterwards", token=LAST_TOKEN)).is_success
        problem(await deliver(client, 1, guid="again", token=NEW_TOKEN), "unauthenticated")
    assert not any(value in log.getvalue() for value in (TOKEN, NEW_TOKEN, LAST_TOKEN))


@FORGED
async def test_it_can_be_deleted(world: World, write: Write) -> None:
    with outside(world.database) as db:
        write(db, world)
    async with running(world) as service:
        assert (await service.client.delete(PATH)).status_code == 204
        assert [fault for fault in service.faults() if " after " not in fault] == []
        problem(await deliver(service.client, 1, token=NEW_TOKEN), "unauthenticated")


@pytest.mark.parametrize("column", ["events", "webhook_type", "created_at"])
async def test_a_row_that_is_no_webhook_at_all_can_be_deleted(world: World, column: str) -> None:
    with outside(world.database) as db:
        db.execute(f"UPDATE webhooks SET {column} = '{{' WHERE id = 1")  # noqa: S608
    async with running(world) as service:
        problem(await deliver(service.client, 1, token=NEW_TOKEN), "unauthenticated")
        assert (await service.client.delete(PATH)).status_code == 204
        assert service.faults() == []
        assert (await service.client.get("/api/projects/1/webhooks")).json()["webhooks"] == []


async def test_a_webhook_that_is_not_in_the_table_any_more_can_be_deleted(world: World) -> None:
    with outside(world.database) as db:
        db.execute("DELETE FROM webhooks WHERE id = 1")
    async with running(world) as service:
        assert await service.named_by_verify() == {"webhooks/1"}
        stranger = await service.with_token("narrow")
        assert (await stranger.delete(PATH)).status_code == 403
        assert (await service.client.delete(PATH)).status_code == 204
        assert service.faults() == []
        problem(await service.client.delete(PATH), "webhook_not_found")


async def test_a_webhook_that_went_with_its_project_is_not_found(world: World) -> None:
    async with running(world) as service:
        await service.client.delete("/api/projects/1", params={"purge": "true"})
        problem(await service.client.delete(PATH), "webhook_not_found")
        assert service.faults() == []


@pytest.mark.parametrize("id", [2, 77])
async def test_a_deleted_webhook_that_is_put_back_takes_no_delivery(world: World, id: int) -> None:
    with outside(world.database) as db:
        put(db, "webhooks", world.rows["deleted webhook"], id=id)
    async with running(world) as service:
        problem(await deliver(service.client, id), "unauthenticated")
        assert (await service.client.delete(f"/api/webhooks/{id}")).status_code == 204
        assert service.faults() == []


async def test_a_webhook_of_another_project_takes_no_delivery(world: World) -> None:
    with outside(world.database) as db:
        db.execute("UPDATE webhooks SET project_id = 2 WHERE id = 1")
    async with running(world) as service:
        problem(await deliver(service.client, 1, token=NEW_TOKEN), "unauthenticated")
        problem(await service.client.patch(PATH, json={"events": []}), "changed_outside")
