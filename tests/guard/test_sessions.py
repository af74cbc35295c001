"""A session whose row was written from outside opens nothing."""

import io
import sqlite3
from collections.abc import Callable

import pytest

from tests.guard.world import LATER, World, outside, put, running
from tests.support.clients import client_of
from tests.support.http import problem

Write = Callable[[sqlite3.Connection, World], None]


def _set(column: str, value: object) -> Write:
    def write(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
        db.execute(f"UPDATE sessions SET {column} = ? WHERE id = 1", (value,))  # noqa: S608

    return write


def _put_back(db: sqlite3.Connection, world: World) -> None:
    put(db, "sessions", world.rows["session before it ended"])


def _without_record(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    """As if the row had been inserted, with a right MAC that was copied."""
    db.execute("DELETE FROM audit_entries WHERE target = 'sessions/1'")


def _of_a_forged_token(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    db.execute("UPDATE api_tokens SET scopes = '[\"admin\"]' WHERE id = 4")


def _gone(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    db.execute("DELETE FROM sessions")


FORGERIES: list[tuple[str, str, Write]] = [
    ("of the admin's token", "session", _set("token_id", 1)),
    ("a later expiry", "session", _set("expires_at", LATER)),
    ("an expiry that is no time", "session", _set("expires_at", "soon")),
    ("a MAC", "session", _set("mac", "0" * 64)),
    ("an ended one that was put back", "ended", _put_back),
    ("an inserted one", "session", _without_record),
    ("one of a forged token", "session", _of_a_forged_token),
    ("a deleted one", "session", _gone),
]


@pytest.mark.parametrize(
    ("name", "write"), [pytest.param(name, write, id=id) for id, name, write in FORGERIES]
)
async def test_it_opens_nothing(world: World, name: str, write: Write, log: io.StringIO) -> None:
    async with running(world) as service:
        with outside(world.database) as db:
            write(db, world)
        async with client_of(service.app) as browser:
            for path in ("/api/session", "/api/projects", "/api/tokens"):
                answer = await browser.get(path, headers={"Cookie": world.tokens[name]})
                problem(answer, "unauthenticated")
        await service.check_verify()
    assert world.tokens[name].rpartition("_")[2] not in log.getvalue()


async def test_a_forged_one_is_settled_by_the_revocation_of_its_token(world: World) -> None:
    with outside(world.database) as db:
        db.execute("UPDATE sessions SET expires_at = ?", (LATER,))
    async with running(world) as service:
        assert [fault.split()[0] for fault in service.faults()] == ["sessions/1"]
        assert (await service.client.delete("/api/tokens/4")).status_code == 204
        assert service.faults() == []


async def test_a_genuine_one_opens_what_its_token_does(world: World) -> None:
    async with running(world) as service, client_of(service.app) as browser:
        header = {"Cookie": world.tokens["session"]}
        assert (await browser.get("/api/projects", headers=header)).status_code == 200
        problem(await browser.get("/api/tokens", headers=header), "forbidden")
