"""A token whose row was written from outside opens nothing."""

import io
import json
import sqlite3
from collections.abc import Callable

import pytest

from backend.main import create_app
from backend.runtime import TOKEN_FILE
from tests.guard.world import EARLIER, LATER, Running, World, outside, put, row_of, running
from tests.support.http import manager_of, problem

Write = Callable[[sqlite3.Connection, World], None]


def _set(column: str, value: object, id: int = 4) -> Write:
    def write(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
        db.execute(f"UPDATE api_tokens SET {column} = ? WHERE id = ?", (value, id))  # noqa: S608

    return write


def _put_back(db: sqlite3.Connection, world: World) -> None:
    put(db, "api_tokens", world.rows["token before it was revoked"])


def _put_back_after_deletion(db: sqlite3.Connection, world: World) -> None:
    db.execute("DELETE FROM api_tokens WHERE id = 3")
    _put_back(db, world)


def _swap_macs(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    macs = [row_of(db, "api_tokens", f"id = {id}")["mac"] for id in (2, 4)]
    for id in (2, 4):
        db.execute("UPDATE api_tokens SET mac = ? WHERE id = ?", (f"x{id}", id))
    db.execute("UPDATE api_tokens SET mac = ? WHERE id = 2", (macs[1],))
    db.execute("UPDATE api_tokens SET mac = ? WHERE id = 4", (macs[0],))


def _without_record(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    """As if the row had been inserted, with a right MAC that was copied."""
    db.execute("DELETE FROM audit_entries WHERE target = 'tokens/4'")


def _of_another_kind(db: sqlite3.Connection, world: World) -> None:  # noqa: ARG001
    """The newest digest belongs to another resource."""
    db.execute(
        "UPDATE audit_entries SET digest = (SELECT digest FROM audit_entries"
        " WHERE target = 'tokens/1') WHERE target = 'tokens/4'"
    )


ALL = json.dumps(["admin"])
FORGERIES: list[tuple[str, str, Write]] = [
    ("more scopes", "narrow", _set("scopes", ALL)),
    ("no project", "bound", _set("project_ids", None, 2)),
    ("another project", "bound", _set("project_ids", "[2]", 2)),
    ("a later expiry", "expired", _set("expires_at", LATER, 5)),
    ("no expiry", "expired", _set("expires_at", None, 5)),
    ("an expiry", "narrow", _set("expires_at", LATER)),
    ("a name", "narrow", _set("name", "admin")),
    ("a time of creation", "narrow", _set("created_at", EARLIER)),
    ("a revocation undone", "revoked", _set("revoked_at", None, 3)),
    ("the row before a revocation", "revoked", _put_back),
    ("the row before a revocation, inserted", "revoked", _put_back_after_deletion),
    ("a revocation", "narrow", _set("revoked_at", EARLIER)),
    ("a MAC", "narrow", _set("mac", "0" * 64)),
    ("swapped MACs", "narrow", _swap_macs),
    ("an inserted row", "narrow", _without_record),
    ("a digest of another token", "narrow", _of_another_kind),
    ("scopes that are no JSON", "narrow", _set("scopes", "[")),
    ("scopes that are no list", "narrow", _set("scopes", "5")),
    ("scopes that are lists", "narrow", _set("scopes", "[[]]")),
    ("projects that are no JSON", "bound", _set("project_ids", "x", 2)),
    ("an expiry that is no time", "narrow", _set("expires_at", "soon")),
]


def _forged(service: Running) -> set[str]:
    return {fault.split()[0] for fault in service.faults()}


BY_NAME = pytest.mark.parametrize(
    ("name", "write"),
    [pytest.param(name, write, id=id) for id, name, write in FORGERIES],
)


@BY_NAME
async def test_it_opens_nothing_and_can_be_revoked(
    world: World, name: str, write: Write, log: io.StringIO
) -> None:
    with outside(world.database) as db:
        write(db, world)
    async with running(world) as service:
        token = await service.with_token(name)
        for path in ("/api/projects", "/api/projects/1/secrets/KEY/value", "/api/tokens"):
            problem(await token.get(path), "unauthenticated")
        assert (await service.client.get("/api/tokens?revoked=true")).status_code == 200
        await service.check_verify()
        for forged in _forged(service):
            assert (await service.client.delete(f"/api/{forged}")).status_code == 204
        assert service.faults() == []
        problem(await (await service.with_token(name)).get("/api/projects"), "unauthenticated")
    assert world.tokens[name] not in log.getvalue()


@BY_NAME
async def test_it_opens_nothing_when_it_is_written_while_the_service_runs(
    world: World, name: str, write: Write
) -> None:
    async with running(world) as service:
        with outside(world.database) as db:
            write(db, world)
        token = await service.with_token(name)
        problem(await token.get("/api/projects"), "unauthenticated")


async def test_a_token_that_is_not_in_the_table_any_more_can_be_revoked(world: World) -> None:
    with outside(world.database) as db:
        db.execute("DELETE FROM api_tokens WHERE id = 4")
    async with running(world) as service:
        assert service.faults() == ["tokens/4 is gone without a tombstone"]
        assert (await service.client.delete("/api/tokens/4")).status_code == 204
        assert service.faults() == []
        problem(await service.client.delete("/api/tokens/4"), "token_not_found")
        with outside(world.database) as db:
            put(db, "api_tokens", world.rows["token 4"])
        problem(await (await service.with_token("narrow")).get("/api/projects"), "unauthenticated")


async def test_no_first_token_is_made_again_when_all_tokens_were_deleted(
    world: World, log: io.StringIO
) -> None:
    with outside(world.database) as db:
        db.execute("DELETE FROM api_tokens")
        db.execute("DELETE FROM sqlite_sequence WHERE name = 'api_tokens'")
    (world.settings.data_dir / TOKEN_FILE).rename(world.settings.data_dir / "earlier")
    app = create_app(world.settings)
    async with app.router.lifespan_context(app):
        assert manager_of(app).execute_query("SELECT * FROM api_tokens") == []
        assert not (world.settings.data_dir / TOKEN_FILE).exists()
    assert "all tokens were deleted" in log.getvalue()
