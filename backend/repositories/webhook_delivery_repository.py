"""Webhook deliveries: each one is stored once, with its payload as it was sent."""

from dataclasses import dataclass
from types import MappingProxyType

from backend.repositories.paging import Page, Position, Query, fetch_page, json_members
from database.base import BaseRepository, Clock, utc_now
from database.connection_manager import DatabaseManager
from models import WebhookDelivery

_COLUMNS = "id, webhook_id, guid, event, action, payload_bytes, created_at"


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """The filters of a list of deliveries; `None` for no filter."""

    event: str | None = None
    guid: str | None = None


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

    async def add(
        self,
        webhook_id: int,
        *,
        guid: str,
        event: str,
        action: str | None,
        payload: str,
        payload_bytes: int,
    ) -> WebhookDelivery | None:
        """Store a delivery. Returns `None`, and changes nothing, when the webhook already has one
        with this guid.

        Raises `ForeignKeyViolation` when the webhook does not exist.
        """
        rows = await self.db.execute_returning(
            "INSERT INTO webhook_deliveries"
            " (webhook_id, guid, event, action, payload_bytes, created_at, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
            f" ON CONFLICT (webhook_id, guid) DO NOTHING RETURNING {_COLUMNS}",
            (webhook_id, guid, event, action, payload_bytes, self.now(), payload),
        )
        return self.model(rows[0]) if rows else None

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
