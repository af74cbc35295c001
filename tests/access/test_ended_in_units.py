"""A token that ends while a unit of work waits, without HTTP."""

import asyncio

import pytest

from backend.errors import Unauthenticated
from backend.schemas.projects import ProjectCreate
from backend.schemas.tokens import TokenCreate
from backend.services.database_service import DatabaseService
from backend.services.operations.rotation_runner import RotationRunner
from backend.services.principal import Principal, acting_as
from database.connection_manager import DatabaseManager
from models import Scope
from tests.access.test_ended_tokens import until
from tests.support.clocks import SetClock
from tests.support.http import new_project


async def known(service: DatabaseService, **fields: object) -> Principal:
    data = {"name": "test", "scopes": [Scope.ADMIN], **fields}
    made = await service.tokens.create(TokenCreate.model_validate(data))
    return await service.tokens.authenticate(made.token)


async def create(service: DatabaseService, principal: Principal) -> None:
    with acting_as(principal):
        await service.projects.create(ProjectCreate.model_validate(new_project()))


async def test_units_before_a_revocation_count_and_units_behind_it_do_not(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    principal, other = await known(service), await known(service)
    assert principal.token_id is not None
    queue = manager.async_pool.writer.queue
    tasks: list[asyncio.Future[None]] = []
    async with service.transaction():
        for work in (
            create(service, principal),
            service.tokens.revoke(principal.token_id),
            create(service, principal),
            create(service, other),
        ):
            tasks.append(asyncio.ensure_future(work))
            await until(lambda: len(queue) == len(tasks))
        commits = manager.get_stats()["async"]["writer"]["commits"]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [
        type(None),
        type(None),
        Unauthenticated,
        type(None),
    ]
    # One commit for the held unit, and one for all the units that waited.
    assert manager.get_stats()["async"]["writer"]["commits"] == commits + 2


async def test_a_revocation_that_fails_ends_nothing(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    principal = await known(service)
    assert principal.token_id is not None
    manager.execute_command("ALTER TABLE audit_entries RENAME TO gone")
    with pytest.raises(Exception, match="no such table"):
        await service.tokens.revoke(principal.token_id)
    manager.execute_command("ALTER TABLE gone RENAME TO audit_entries")
    await create(service, principal)
    assert service.tokens.may_have_ended(principal)
    await service.tokens.require_valid(principal)


async def test_a_unit_that_waited_past_the_expiry_does_nothing(
    service: DatabaseService, manager: DatabaseManager, clock: SetClock
) -> None:
    principal = await known(service, expires_in=60)
    async with service.transaction():
        waiting = asyncio.ensure_future(create(service, principal))
        await until(lambda: len(manager.async_pool.writer.queue) == 1)
        clock.advance(60)
    with pytest.raises(Unauthenticated):
        await waiting
    assert (await service.projects.page()).projects == []
    with acting_as(principal), pytest.raises(Unauthenticated):
        await service.projects.get_full(1)


async def test_a_token_that_is_recognised_during_a_revocation_is_looked_up_again(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    made = await service.tokens.create(
        TokenCreate.model_validate({"name": "test", "scopes": [Scope.ADMIN]})
    )
    async with service.transaction():
        revocation = asyncio.ensure_future(service.tokens.revoke(made.id))
        await until(lambda: len(manager.async_pool.writer.queue) == 1)
        principal = await service.tokens.authenticate(made.token)
    await revocation
    with pytest.raises(Unauthenticated):
        await create(service, principal)


async def test_a_rotation_that_was_begun_goes_on_when_its_token_has_ended(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    principal = await known(service)
    assert principal.token_id is not None
    await create(service, principal)
    with acting_as(principal):
        await service.rotation.begin(reencrypt=True)
        async with service.transaction():
            revocation = asyncio.ensure_future(service.tokens.revoke(principal.token_id))
            await until(lambda: len(manager.async_pool.writer.queue) == 1)
            rotation = RotationRunner(service.rotation).start()
        await revocation
    await rotation
    assert not await service.rotation.is_unfinished()
    entries = (await service.audit.page(action="keys.rotation_finished")).entries
    assert [entry.actor for entry in entries] == ["system"]
