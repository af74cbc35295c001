"""Webhook deliveries: each one is stored once, with its payload as it was sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from backend.repositories.paging import (
    Page,
    Position,
    Query,
    fetch_page,
    json_members,
    row_json,
)
from database.base import BaseRepository, Clock, utc_now
from database.connection_manager import DatabaseManager
from models import WebhookDelivery

_COLUMNS = "id, webhook_id, guid, event, action, payload_bytes, created_at"


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """The filters of a list of deliveries; `None` for no filter."""

    event: str | None = None
    guid: str | None = None


class NewDelivery(NamedTuple):
    """A delivery that has to be stored."""

    webhook_id: int
    guid: str
    event: str
    action: str | None
    payload_bytes: int
    payload: str


class StoredDelivery(NamedTuple):
    """A delivery's id, and its JSON without the payload."""

    id: int
    json: bytes


class WebhookDeliveryRepository(BaseRepository[WebhookDelivery]):
    """The table `webhook_deliveries`."""

    versioned = False
    defaults = MappingProxyType(
        {
            "action": None,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(WebhookDelivery, "webhook_deliveries", db_manager, clock=clock)

    async def add(self, deliveries: Sequence[NewDelivery]) -> list[StoredDelivery | None]:
        """Store deliveries in their order. Returns `None`, and stores nothing, for each whose
        webhook already has one with its guid, or that has the guid of one before it.

        Raises `ForeignKeyViolation` when a webhook does not exist.
        """
        now = self.now()
        rows = await self.db.execute_returning(
            "INSERT INTO webhook_deliveries"
            " (webhook_id, guid, event, action, payload_bytes, payload, created_at)"
            f" VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?)'] * len(deliveries))}"
            " ON CONFLICT (webhook_id, guid) DO NOTHING RETURNING webhook_id, guid, id",
            [value for delivery in deliveries for value in (*delivery, now)],
        )
        ids = {(webhook_id, guid): id for webhook_id, guid, id in rows}
        stored: list[StoredDelivery | None] = []
        for delivery in deliveries:
            id = ids.pop((delivery.webhook_id, delivery.guid), None)
            stored.append(_stored(id, delivery, now) if id is not None else None)
        return stored

    async def get_by_guid(self, webhook_id: int, guid: str) -> WebhookDelivery | None:
        """The delivery with the guid that its sender chose, or `None`."""
        row = await self.db.fetch_one(
            f"SELECT {_COLUMNS} FROM webhook_deliveries WHERE webhook_id = ? AND guid = ?",
            (webhook_id, guid),
        )
        return self.model(row) if row is not None else None

    async def get_with_payload(
        self, webhook_id: int, id: int
    ) -> tuple[WebhookDelivery, bytes] | None:
        """A delivery of this webhook and its payload, or `None`."""
        row = await self.db.fetch_one(
            f"SELECT {_COLUMNS}, {self.db.dialect.utf8('payload')} AS payload"
            " FROM webhook_deliveries WHERE id = ? AND webhook_id = ?",
            (id, webhook_id),
        )
        return (self.model(row), row["payload"]) if row is not None else None

    async def page(
        self, webhook_id: int, filter: DeliveryFilter, *, limit: int, after: Position | None
    ) -> Page[WebhookDelivery]:
        """Up to `limit` deliveries of a webhook, newest first, after the position `after`."""
        query = Query(f"SELECT {_COLUMNS} FROM webhook_deliveries")
        query.where("webhook_id = ?", webhook_id)
        if filter.event is not None:
            query.where("event = ?", filter.event)
        if filter.guid is not None:
            query.where("guid = ?", filter.guid)
        query.keyset(("id",), after, descending=True, limit=limit)
        return await fetch_page(self.db, query, limit, self.model, ("id",), members=_MEMBERS)


_MEMBERS = json_members(WebhookDelivery)


def _stored(id: int, delivery: NewDelivery, created_at: str) -> StoredDelivery:
    columns = {"id": id, "created_at": created_at, **delivery._asdict()}
    return StoredDelivery(id, row_json(columns, _MEMBERS))
