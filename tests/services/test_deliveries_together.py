"""Deliveries that arrive at the same time are stored as one, and answered as one after another."""

import json
from typing import Any

import pytest

from backend.errors import BadSignature, WebhookNotFound
from backend.observability.request_ids import enter_request
from backend.repositories.audit_repository import AuditFilter
from backend.schemas.projects import ProjectCreate
from backend.schemas.webhooks import WebhookCreate, WebhookUpdate
from backend.services.audit.verification import verify_audit
from backend.services.database_service import DatabaseService
from backend.services.webhooks.deliveries import IncomingDelivery, Received
from models import WebhookType
from tests.support.http import new_project
from tests.support.together import at_once, together

pytestmark = pytest.mark.usefixtures("as_one")
_TIMES = {"created_at", "updated_at", "last_triggered_at", "at", "mac", "digest"}
_SEALED = {"wrapped", "secret_ciphertext"}


def incoming(guid: str, payload: str = "{}", action: str | None = None) -> IncomingDelivery:
    return IncomingDelivery(guid, "push", action, payload, len(payload.encode()))


async def three_webhooks(service: DatabaseService) -> None:
    """Webhooks of two projects."""
    for number, project in enumerate((1, 1, 2)):
        if number != 1:
            body = new_project(github_repo=f"repo-{number}")
            await service.projects.create(ProjectCreate.model_validate(body))
        hook = {"webhook_type": WebhookType.GITHUB_PUSH, "secret_token": f"made-up {number}"}
        await service.webhooks.create(project, WebhookCreate.model_validate(hook))


async def receive(
    service: DatabaseService, webhook_id: int, delivery: IncomingDelivery, request: str = "r"
) -> Received:
    enter_request(request, {"client": ("192.0.2.7", 1)})
    target = await service.deliveries.target(webhook_id)
    return await service.deliveries.receive(target, delivery)


async def contents(service: DatabaseService) -> list[dict[str, object]]:
    """All rows that deliveries leave, without what differs from time to time."""
    executor = service.repositories.executor
    rows = [
        *await executor.fetch_all("SELECT * FROM webhook_deliveries ORDER BY id"),
        *await executor.fetch_all("SELECT * FROM webhooks ORDER BY id"),
        *await executor.fetch_all("SELECT * FROM audit_entries ORDER BY id"),
    ]
    return [{k: v for k, v in dict(row).items() if k not in _TIMES | _SEALED} for row in rows]


DELIVERIES = [
    (1, incoming("a", '{"action":"opened", "n":1e2}', "opened")),
    (3, incoming("a", '{"ä":"ö"}')),
    (1, incoming("b")),
    (2, incoming("c")),
    (1, incoming("d", '{"action": 1}')),
]


async def test_the_rows_are_those_of_single_deliveries(
    service: DatabaseService, other: DatabaseService
) -> None:
    for one in (service, other):
        await three_webhooks(one)
    answers = await at_once(service, *(receive(service, *one) for one in DELIVERIES))
    assert together(service) == len(DELIVERIES)
    one_by_one = [await receive(other, *one) for one in DELIVERIES]
    assert together(other) == 0
    assert await contents(service) == await contents(other)
    for (webhook, delivery), answer, single in zip(DELIVERIES, answers, one_by_one, strict=True):
        assert isinstance(answer, Received)
        assert (answer.id, answer.is_new) == (single.id, True)
        stored = json.loads(await service.deliveries.get_json(webhook, answer.id))
        assert stored.pop("payload") == json.loads(delivery.payload)
        assert json.loads(answer.json) == stored
    triggered = await service.repositories.executor.fetch_all(
        "SELECT last_triggered_at FROM webhooks"
    )
    assert None not in [row[0] for row in triggered]
    assert verify_audit(service.db_manager, service.kit.audit.chain) is None


async def test_a_delivery_is_stored_once(service: DatabaseService) -> None:
    await three_webhooks(service)
    first = await receive(service, 1, incoming("known", "[1]"))
    guids = ("new", "known", "new", "last")
    answers = await at_once(service, *(receive(service, 1, incoming(guid)) for guid in guids))
    received = [answer for answer in answers if isinstance(answer, Received)]
    assert [one.is_new for one in received] == [True, False, False, True]
    assert [received[1].id, received[1].json] == [first.id, first.json]
    assert [received[2].id, received[2].json] == [received[0].id, received[0].json]
    assert together(service) == 2
    assert service.db_manager.async_pool.writer.stats.repeated_batches == 0
    rows = await service.repositories.executor.fetch_all("SELECT guid FROM webhook_deliveries")
    assert sorted(row[0] for row in rows) == ["known", "last", "new"]
    page = await service.repositories.audit.page(
        AuditFilter(action="delivery.received"), limit=9, after=None
    )
    assert len(page.items) == 3


async def test_only_repeated_deliveries_leave_nothing(service: DatabaseService) -> None:
    await three_webhooks(service)
    await receive(service, 1, incoming("known"))
    before = await contents(service)
    answers = await at_once(service, *(receive(service, 1, incoming("known")) for _ in range(3)))
    assert [a.is_new for a in answers if isinstance(a, Received)] == [False] * 3
    assert await contents(service) == before


async def test_closed_webhooks_and_changed_tokens_refuse_only_their_own(
    service: DatabaseService,
) -> None:
    await three_webhooks(service)
    changed = await service.deliveries.target(2)
    await service.webhooks.update(2, WebhookUpdate.model_validate({"secret_token": "made-up too"}))
    await service.projects.delete(2)
    answers = await at_once(
        service,
        receive(service, 1, incoming("a"), "first"),
        receive(service, 3, incoming("b")),
        receive(service, 99, incoming("c")),
        service.deliveries.receive(changed, incoming("d")),
        receive(service, 2, incoming("e"), "last"),
    )
    assert [type(answer) for answer in answers] == [
        *(Received, WebhookNotFound, WebhookNotFound, BadSignature, Received)
    ]
    assert together(service) == 2
    assert service.db_manager.async_pool.writer.stats.repeated_batches == 0
    page = await service.repositories.audit.page(
        AuditFilter(action="delivery.received"), limit=9, after=None
    )
    assert [(e.actor, e.request_id, e.address) for e in reversed(page.items)] == [
        ("anonymous", "first", "192.0.2.7"),
        ("anonymous", "last", "192.0.2.7"),
    ]


@pytest.mark.parametrize(("size", "units"), [(65_536, 2), (65_537, 0)])
async def test_large_payloads_are_stored_alone(
    service: DatabaseService, size: int, units: int
) -> None:
    await three_webhooks(service)
    payload = json.dumps({"x": ""})
    large = payload.replace('""', f'"{"x" * (size - len(payload))}"')
    works: list[Any] = [receive(service, 1, incoming(guid, large)) for guid in "ab"]
    answers = await at_once(service, *works)
    assert all(isinstance(answer, Received) and answer.is_new for answer in answers)
    assert together(service) == units
