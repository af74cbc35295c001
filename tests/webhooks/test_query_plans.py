"""Every statement about webhooks finds its rows in the required order through an index."""

import pytest
from fastapi import FastAPI

from backend.repositories.webhook_delivery_repository import (
    DeliveryFilter,
    NewDelivery,
    WebhookDeliveryRepository,
)
from backend.repositories.webhook_repository import WebhookRepository
from database.base import TableAccess
from tests.support.http import manager_of
from tests.support.plans import Explaining, is_careless


def explaining(application: FastAPI) -> Explaining:
    return Explaining(manager_of(application).async_pool)


def _new(webhook_id: int, guid: str) -> NewDelivery:
    return NewDelivery(webhook_id, guid, "push", None, 2, "{}")


def careless(plans: Explaining) -> list[str]:
    return [step for step in plans.steps() if is_careless(step)]


async def test_no_statement_about_webhooks_scans_or_sorts(
    application: FastAPI, webhook_id: int
) -> None:
    plans = explaining(application)
    webhooks = WebhookRepository(manager_of(application)).using(plans)
    made = await webhooks.create({"project_id": 1, "webhook_type": "custom"})
    stored = await webhooks.get_stored(webhook_id)
    assert stored is not None
    assert stored.key is not None
    assert await webhooks.get_sealed_token(webhook_id) is not None
    assert await webhooks.project_of(webhook_id) == (1, False)
    await webhooks.set_first_token(made.id, project_key_id=stored.key.id, ciphertext="x")
    assert (await webhooks.receivers([webhook_id, made.id, 99])).keys() == {webhook_id, made.id}
    await webhooks.set_triggered([made.id, webhook_id])
    await webhooks.update(made.id, {"is_active": False})
    await webhooks.delete(made.id)
    for after in (None, (99,)):
        assert (await webhooks.page(1, limit=1, after=after)).items
    assert len(plans.plans) == 11
    assert careless(plans) == []


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (DeliveryFilter(), "webhook_deliveries_webhook"),
        (DeliveryFilter(event="push"), "webhook_deliveries_event"),
        (DeliveryFilter(guid="g"), "sqlite_autoindex_webhook_deliveries_1"),
        (DeliveryFilter(event="push", guid="g"), "sqlite_autoindex_webhook_deliveries_1"),
    ],
)
@pytest.mark.parametrize("after", [None, (99,)])
async def test_a_list_of_deliveries_comes_from_its_index(
    application: FastAPI,
    webhook_id: int,
    filter: DeliveryFilter,
    index: str,
    after: tuple[int] | None,
) -> None:
    plans = explaining(application)
    deliveries = WebhookDeliveryRepository(manager_of(application)).using(plans)
    assert None not in await deliveries.add([_new(webhook_id, "g"), _new(webhook_id, "h")])
    # The rows of VALUES.
    assert careless(plans) == ["SCAN 2 CONSTANT ROWS"]
    assert len((await deliveries.page(webhook_id, filter, limit=1, after=after)).items) == 1
    steps = plans.steps()
    assert [step for step in steps if is_careless(step)] == []
    assert index in steps[0]


async def test_a_delivery_is_found_by_its_id_or_guid(application: FastAPI, webhook_id: int) -> None:
    plans = explaining(application)
    deliveries = WebhookDeliveryRepository(manager_of(application)).using(plans)
    [added] = await deliveries.add([_new(webhook_id, "g")])
    assert added is not None
    found = await deliveries.get_by_guid(webhook_id, "g")
    assert found is not None
    assert found.model_dump_json().encode() == added.json
    assert await deliveries.get_with_payload(webhook_id, added.id) == (found, b"{}")
    assert careless(plans) == []


@pytest.mark.parametrize(
    ("repository", "tried"),
    [
        (
            WebhookRepository,
            {
                "get_stored",
                "get_sealed_token",
                "project_of",
                "set_first_token",
                "receivers",
                "set_triggered",
                "page",
            },
        ),
        (WebhookDeliveryRepository, {"add", "get_by_guid", "get_with_payload", "page"}),
    ],
)
def test_every_statement_was_looked_at(repository: type[TableAccess], tried: set[str]) -> None:
    public = {name for name in vars(repository) if not name.startswith("_")}
    assert public - {"writable", "versioned", "defaults"} == tried
