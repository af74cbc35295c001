"""A running service notices that another program has cut or changed the end of the record."""

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from io import StringIO

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from backend.repositories.audit_repository import AuditHead
from backend.runtime import HeadsFile, Runtime
from backend.schemas.projects import ProjectCreate
from backend.services.audit.verification import verify_audit
from config.settings import Settings
from database.errors import DatabaseError
from tests.support.http import make_project, manager_of, service_of

TOLD = "the audit was cut or changed at its end"
COPY = (
    "INSERT INTO audit_entries (id, at, actor, action, target, fields, mac)"
    " SELECT {id}, at, actor, action, target, fields, mac FROM audit_entries"
    " ORDER BY id DESC LIMIT 1"
)
OTHER = "UPDATE audit_entries SET mac = replace(hex(zeroblob(32)), '0', '5') WHERE id = 4"
CHANGES = {
    "the last entry was cut off": ["DELETE FROM audit_entries WHERE id = 4"],
    "several were cut off": ["DELETE FROM audit_entries WHERE id > 2"],
    "all were removed": ["DELETE FROM audit_entries"],
    "the last one is another": [OTHER],
    "a foreign one follows": [COPY.format(id=5)],
    "foreign ones follow a cut": [
        "DELETE FROM audit_entries WHERE id > 2",
        *(COPY.format(id=id) for id in range(3, 9)),
    ],
}
"""Changes of the four entries that `runtime` has."""
_numbers = itertools.count()


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """An installation with four entries, of which only the first is exported."""
    runtime = await Runtime.start(settings)
    await runtime.heads.export()
    for _ in range(3):
        await add(runtime)
    yield runtime
    await runtime.stop()


async def add(runtime: Runtime) -> None:
    """Make a change, which has one entry."""
    number = next(_numbers)
    fields = {"name": "a", "github_owner": "o", "github_repo": f"r{number}"}
    await runtime.service.projects.create(ProjectCreate.model_validate(fields))


def change(runtime: Runtime, *statements: str) -> None:
    """Change the database as another program would."""
    with closing(sqlite3.connect(runtime.manager.config.path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


async def losses(runtime: Runtime) -> list[str]:
    """The targets of the entries about losses, oldest first."""
    listed = await runtime.service.audit.page(action="audit.loss_found")
    assert all(entry.actor == "system" for entry in listed.entries)
    return [entry.target for entry in reversed(listed.entries)]


async def known(runtime: Runtime) -> AuditHead:
    head = await runtime.service.audit.head()
    assert head is not None
    return head


def problem(runtime: Runtime) -> str | None:
    """What `verify` says of the audit."""
    heads = HeadsFile(runtime.heads.path).heads()
    found = verify_audit(runtime.manager, runtime.service.audit.chain, heads)
    return str(found) if found is not None else None


@pytest.mark.parametrize("statements", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("finder", ["a write", "a look"])
async def test_the_loss_is_told_counted_recorded_and_named_for_ever(
    runtime: Runtime, log: StringIO, finder: str, statements: list[str]
) -> None:
    before = await known(runtime)
    change(runtime, *statements)
    if finder == "a write":
        await add(runtime)
    await runtime.heads.export()
    assert await losses(runtime) == ["audit/4"]
    assert runtime.service.audit.end.losses == 1
    assert log.getvalue().count(TOLD) == 1
    # The head is in the file although it was not exported before the cut.
    assert before in [head[:2] for head in HeadsFile(runtime.heads.path).heads()]
    named = problem(runtime)
    assert named is not None

    # Writing goes on from what is there, and nothing is told twice.
    for _ in range(3):
        await add(runtime)
        await runtime.heads.export()
    assert await losses(runtime) == ["audit/4"]
    assert runtime.service.audit.end.losses == 1
    assert log.getvalue().count(TOLD) == 1
    assert problem(runtime) is not None
    assert (await runtime.service.readiness.check()).status == "ready"


async def test_each_loss_is_one_of_its_own(runtime: Runtime) -> None:
    for _ in range(3):
        change(runtime, "DELETE FROM audit_entries WHERE id > 1 AND action != 'audit.loss_found'")
        await runtime.heads.export()
        await add(runtime)
    assert await losses(runtime) == ["audit/4", "audit/3", "audit/4"]
    assert runtime.service.audit.end.losses == 3


async def test_a_loss_that_can_not_be_recorded_is_told_once_and_recorded_later(
    runtime: Runtime, log: StringIO
) -> None:
    change(
        runtime,
        "DELETE FROM audit_entries WHERE id > 2",
        "CREATE TRIGGER refused BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, ''); END",
    )
    for _ in range(2):
        with pytest.raises(DatabaseError):
            await runtime.heads.export()
        with pytest.raises(DatabaseError):
            await add(runtime)
    assert await losses(runtime) == []
    change(runtime, "DROP TRIGGER refused")
    await runtime.heads.export()
    assert await losses(runtime) == ["audit/4"]
    assert runtime.service.audit.end.losses == 1
    assert log.getvalue().count(TOLD) == 1


async def test_looks_between_many_writes_find_nothing(runtime: Runtime) -> None:
    async def look() -> None:
        while not written.done():
            await runtime.service.audit.look_at_end()

    async def write() -> None:
        for _ in range(20):
            await asyncio.gather(*(add(runtime) for _ in range(5)))

    written = asyncio.ensure_future(write())
    await asyncio.gather(look(), look(), written)
    assert runtime.service.audit.end.losses == 0
    assert await losses(runtime) == []


async def test_a_start_takes_the_end_that_it_finds(settings: Settings, log: StringIO) -> None:
    runtime = await Runtime.start(settings)
    await add(runtime)
    await runtime.stop()
    runtime = await Runtime.start(settings)
    await runtime.heads.export()
    await add(runtime)
    await runtime.heads.export()
    assert await losses(runtime) == []
    await runtime.stop()
    assert TOLD not in log.getvalue()


async def test_a_loss_that_a_running_service_found_is_not_recorded_again_by_the_next_start(
    settings: Settings,
) -> None:
    runtime = await Runtime.start(settings)
    for _ in range(3):
        await add(runtime)
    change(runtime, "DELETE FROM audit_entries WHERE id > 1")
    await runtime.stop()
    # The stop looks once more.
    runtime = await Runtime.start(settings)
    assert await losses(runtime) == ["audit/4"]
    assert problem(runtime) == (
        "audit entries 3 to 4 are missing at the end: entry 4 existed at "
        + next(head.at for head in HeadsFile(runtime.heads.path).heads() if head.id == 4)
    )
    await runtime.stop()


async def test_losses_are_counted_in_the_metrics(client: AsyncClient, application: FastAPI) -> None:
    await make_project(client)
    assert "strongroom_audit_losses_total 0.0" in (await client.get("/metrics")).text
    manager_of(application).execute_command("DELETE FROM audit_entries WHERE id > 1")
    await service_of(application).audit.look_at_end()
    assert "strongroom_audit_losses_total 1.0" in (await client.get("/metrics")).text
    [entry] = (await client.get("/api/audit?action=audit.loss_found")).json()["entries"]
    assert entry["fields"] == []
    assert entry["address"] is entry["request_id"] is entry["actor_token_id"] is None
