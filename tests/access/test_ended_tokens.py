"""A token that ends while a request is on its way: every route, wherever it may wait."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.admission import Seats
from backend.errors import Unauthenticated
from backend.schemas.tokens import TokenCreate
from backend.services.database_service import DatabaseService
from backend.services.principal import ADMIN, Principal, acting_as
from backend.services.rotation_runner import RotationRunner
from config.settings import Settings
from database.connection_manager import DatabaseManager
from models import ProjectCreate, Scope
from tests.access.routes import Call, calls, send
from tests.access.world import World
from tests.clocks import SetClock
from tests.http.support import all_rows, manager_of, new_project, problem, service_of

REVEAL = "GET /api/projects/{project_id}/secrets/{key}/value"
Names = dict[str, dict[str, Any]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With guarded metrics, one reader to wait for, and seats for all."""
    return settings.model_copy(
        update={
            "failed_attempts_per_minute": 0,
            "host": "0.0.0.0",  # noqa: S104 - no socket
            "db_readers": 1,
            "max_concurrent_requests": 200,
        }
    )


@pytest.fixture
def stranger(application: FastAPI) -> httpx.AsyncClient:
    """A client without a token."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(application, raise_app_exceptions=False),
        base_url="http://strongroom.test",
    )


@pytest.fixture
def routes(application: FastAPI) -> list[Call]:
    """Every route that needs a token."""
    found = [call for call in calls(application) if call.scope is not None]
    assert len(found) > 40
    return found


@pytest.fixture
async def names(client: httpx.AsyncClient, routes: list[Call]) -> Names:
    """What stands in the path of each route."""
    world = World(client)
    return {str(call): {name: await world.get(name) for name in call.names} for call in routes}


def writes(call: Call) -> bool:
    return call.method != "GET" or str(call) == REVEAL


async def new_token(client: httpx.AsyncClient, **fields: Any) -> tuple[int, str]:
    body = {"name": "test", "scopes": [ADMIN], **fields}
    made = (await client.post("/api/tokens", json=body)).json()
    return made["id"], made["token"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def rows_but_tokens(app: FastAPI) -> dict[str, Any]:
    """Everything that is stored, but for what is known of tokens."""
    rows: dict[str, Any] = dict(all_rows(manager_of(app)))
    rows["api_tokens"] = [(row["id"], row["name"]) for row in rows["api_tokens"]]
    rows["audit_entries"] = [
        row for row in rows["audit_entries"] if row["action"] != "token.revoked"
    ]
    return rows


async def refused(answers: Sequence[Awaitable[httpx.Response]], sent: list[Call]) -> None:
    for call, response in zip(sent, await asyncio.gather(*answers), strict=True):
        assert response.status_code == 401, (str(call), response.text)
        problem(response, "unauthenticated")


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_no_route_acts_for_a_token_that_ends_while_the_body_comes(
    application: FastAPI,
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    routes: list[Call],
    names: Names,
    end: str,
) -> None:
    clock = SetClock()
    service_of(application).clock = clock
    tokens = [await new_token(client, expires_in=3600 * (n + 1)) for n in range(len(routes))]
    before = rows_but_tokens(application)
    for call, (token_id, token) in zip(routes, tokens, strict=True):

        async def ends(token_id: int = token_id) -> None:
            if end == "revoked":
                assert (await client.delete(f"/api/tokens/{token_id}")).status_code == 204
            else:
                clock.advance(3600)

        await refused([send(stranger, call, names[str(call)], token=token, between=ends)], [call])
    assert rows_but_tokens(application) == before


@pytest.mark.parametrize("kind", ["reading", "writing"])
async def test_no_route_acts_for_a_token_that_ends_while_it_waits_for_a_seat(
    application: FastAPI,
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    routes: list[Call],
    names: Names,
    kind: str,
) -> None:
    sent = [call for call in routes if writes(call) == (kind == "writing")]
    sent = [call for call in sent if call.path != "/metrics"]
    token_id, token = await new_token(client)
    before = rows_but_tokens(application)
    seats: Seats = application.state.seats[kind]
    holders = [object() for _ in range(seats.free)]
    assert all(seats.take(holder) for holder in holders)
    answers = [
        asyncio.ensure_future(send(stranger, call, names[str(call)], token=token)) for call in sent
    ]
    await until(lambda: seats.waiting == len(sent))
    await service_of(application).revoke_token(token_id)
    for holder in holders:
        seats.give_back(holder)
    await refused(answers, sent)
    assert rows_but_tokens(application) == before


async def test_no_unit_of_work_acts_after_the_revocation_that_shares_its_commit(
    application: FastAPI,
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    routes: list[Call],
    names: Names,
) -> None:
    sent = list(filter(writes, routes))
    token_id, token = await new_token(client)
    before = rows_but_tokens(application)
    service, manager = service_of(application), manager_of(application)
    queue = manager.async_pool.writer.queue
    async with service.transaction():
        revocation = asyncio.ensure_future(service.revoke_token(token_id))
        await until(lambda: len(queue) == 1)
        answers = [
            asyncio.ensure_future(send(stranger, call, names[str(call)], token=token))
            for call in sent
        ]
        await until(lambda: len(queue) == 1 + len(sent))
    await revocation
    await refused(answers, sent)
    assert rows_but_tokens(application) == before


async def test_no_route_tells_anything_to_a_token_that_ends_while_it_reads(
    application: FastAPI,
    client: httpx.AsyncClient,
    stranger: httpx.AsyncClient,
    routes: list[Call],
    names: Names,
) -> None:
    # These two ask no reader.
    others = {"GET /metrics", "GET /api/backups"}
    sent = [call for call in routes if not writes(call) and str(call) not in others]
    token_id, token = await new_token(client)
    service, manager = service_of(application), manager_of(application)
    await service.authenticate(token)
    queue = manager.async_pool.readers.queue
    released = threading.Event()
    blocked = asyncio.ensure_future(manager.async_pool.run_read(lambda _: released.wait(30)))
    answers = [
        asyncio.ensure_future(send(stranger, call, names[str(call)], token=token)) for call in sent
    ]
    try:
        await until(lambda: queue.unanswered == 1 + len(sent))
        await service.revoke_token(token_id)
    finally:
        released.set()
    await blocked
    await refused(answers, sent)


async def test_a_stream_breaks_off_when_its_token_ends(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    manager = manager_of(application)
    manager.execute_command(
        "WITH RECURSIVE numbers (n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM numbers WHERE"
        " n < 2500) INSERT INTO audit_entries (id, at, actor, action, target, mac)"
        " SELECT n, '2026-01-31T12:00:00.000000Z', 'test', 'test.done', 'tests/1',"
        " printf('%064d', n) FROM numbers"
    )
    token_id, token = await new_token(client, scopes=["audit:read"])
    messages: list[Any] = []

    received = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if not received:
            await asyncio.Event().wait()
        return received.pop()

    async def collect(message: Any) -> None:
        messages.append(message)
        if message.get("body"):
            await service_of(application).revoke_token(token_id)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "GET",
        "path": "/api/audit/export",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
        "client": ("192.0.2.1", 5),
    }
    async with asyncio.timeout(30):
        await application(scope, receive, collect)
    assert messages[0]["status"] == 200
    assert sum(bool(message.get("body")) for message in messages) == 1
    # The end of the answer is missing, so that the client's connection breaks.
    assert messages[-1].get("more_body") is True


class TestService:
    """At the service, without HTTP."""

    @pytest.fixture
    def clock(self, service: DatabaseService) -> SetClock:
        """The clock that the service goes by."""
        service.clock = clock = SetClock()
        return clock

    async def principal(self, service: DatabaseService, **fields: object) -> Principal:
        data = {"name": "test", "scopes": [Scope.ADMIN], **fields}
        made = await service.create_token(TokenCreate.model_validate(data))
        return await service.authenticate(made.token)

    async def create(self, service: DatabaseService, principal: Principal) -> None:
        with acting_as(principal):
            await service.create_project(ProjectCreate.model_validate(new_project()))

    async def test_units_before_a_revocation_count_and_units_behind_it_do_not(
        self, service: DatabaseService, manager: DatabaseManager
    ) -> None:
        principal, other = await self.principal(service), await self.principal(service)
        assert principal.token_id is not None
        queue = manager.async_pool.writer.queue
        tasks: list[asyncio.Future[None]] = []
        async with service.transaction():
            for work in (
                self.create(service, principal),
                service.revoke_token(principal.token_id),
                self.create(service, principal),
                self.create(service, other),
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
        # The one that was held, and one for all that waited.
        assert manager.get_stats()["async"]["writer"]["commits"] == commits + 2

    async def test_a_revocation_that_fails_ends_nothing(
        self, service: DatabaseService, manager: DatabaseManager
    ) -> None:
        principal = await self.principal(service)
        assert principal.token_id is not None
        manager.execute_command("ALTER TABLE audit_entries RENAME TO gone")
        with pytest.raises(Exception, match="no such table"):
            await service.revoke_token(principal.token_id)
        manager.execute_command("ALTER TABLE gone RENAME TO audit_entries")
        await self.create(service, principal)
        assert service.may_have_ended(principal)
        await service.require_valid(principal)

    async def test_a_unit_that_waited_past_the_expiry_does_nothing(
        self, service: DatabaseService, manager: DatabaseManager, clock: SetClock
    ) -> None:
        principal = await self.principal(service, expires_in=60)
        async with service.transaction():
            waiting = asyncio.ensure_future(self.create(service, principal))
            await until(lambda: len(manager.async_pool.writer.queue) == 1)
            clock.advance(60)
        with pytest.raises(Unauthenticated):
            await waiting
        assert (await service.list_projects()).projects == []
        with acting_as(principal), pytest.raises(Unauthenticated):
            await service.get_full(1)

    async def test_a_token_that_is_recognised_during_a_revocation_is_looked_up_again(
        self, service: DatabaseService, manager: DatabaseManager
    ) -> None:
        made = await service.create_token(
            TokenCreate.model_validate({"name": "test", "scopes": [Scope.ADMIN]})
        )
        async with service.transaction():
            revocation = asyncio.ensure_future(service.revoke_token(made.id))
            await until(lambda: len(manager.async_pool.writer.queue) == 1)
            principal = await service.authenticate(made.token)
        await revocation
        with pytest.raises(Unauthenticated):
            await self.create(service, principal)

    async def test_a_rotation_that_was_begun_goes_on_when_its_token_has_ended(
        self, service: DatabaseService, manager: DatabaseManager
    ) -> None:
        principal = await self.principal(service)
        assert principal.token_id is not None
        await self.create(service, principal)
        with acting_as(principal):
            await service.begin_rotation(reencrypt=True)
            async with service.transaction():
                revocation = asyncio.ensure_future(service.revoke_token(principal.token_id))
                await until(lambda: len(manager.async_pool.writer.queue) == 1)
                rotation = RotationRunner(service).start()
            await revocation
        await rotation
        assert not await service.rotation_is_unfinished()
        entries = (await service.list_audit(action="keys.rotation_finished")).entries
        assert [entry.actor for entry in entries] == ["system"]
