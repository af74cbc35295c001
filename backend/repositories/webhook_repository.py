"""Webhooks of projects, with their secret tokens as ciphertext, which this layer never opens."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from backend.repositories.keys_repository import ProjectKey
from backend.repositories.paging import Page, Position, Query, fetch_page, json_members
from database.base import BaseRepository, Clock, utc_now
from database.connection_manager import DatabaseManager
from database.portable_sql import among
from models import Webhook


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """A webhook's row, its key, and whether its project is deleted."""

    webhook: Webhook
    key: ProjectKey | None
    """The row of the key that encrypts the secret token; `None` without a token."""
    in_deleted_project: bool


class Receiver(NamedTuple):
    """A webhook that accepts deliveries."""

    project_id: int
    secret_version: int


@dataclass(frozen=True, slots=True)
class SealedToken:
    """A webhook's stored secret token."""

    project_id: int
    version: int
    ciphertext: str
    key: ProjectKey


class WebhookRepository(BaseRepository[Webhook]):
    """The table `webhooks`."""

    writable = frozenset(
        {
            "project_id",
            "webhook_type",
            "webhook_url",
            "events",
            "is_active",
            "secret_ciphertext",
            "project_key_id",
            "secret_version",
        }
    )
    defaults = MappingProxyType(
        {
            "webhook_url": None,
            "events": "[]",
            "is_active": 1,
            "secret_ciphertext": None,
            "project_key_id": None,
            "secret_version": 0,
            "last_triggered_at": None,
            "version": 1,
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(Webhook, "webhooks", db_manager, clock=clock)

    async def get_stored(self, id: int) -> StoredWebhook | None:
        """The webhook with the key of its secret token, or `None`."""
        row = await self.db.fetch_one(
            "SELECT w.*, k.project_id AS key_project_id, k.wrapped,"
            " p.status = 'deleted' AS in_deleted_project"
            " FROM webhooks AS w JOIN projects AS p ON p.id = w.project_id"
            " LEFT JOIN project_keys AS k ON k.id = w.project_key_id WHERE w.id = ?",
            (id,),
        )
        if row is None:
            return None
        key = None
        if row["wrapped"] is not None:
            key = ProjectKey(row["project_key_id"], row["key_project_id"], row["wrapped"])
        return StoredWebhook(self.model(row), key, bool(row["in_deleted_project"]))

    async def project_of(self, id: int) -> tuple[int, bool] | None:
        """The webhook's project, and whether it is deleted; `None` without the webhook or the
        project. Also of a row that is no webhook otherwise, because it was damaged in the file."""
        row = await self.db.fetch_one(
            "SELECT w.project_id, p.status = 'deleted' FROM webhooks AS w"
            " JOIN projects AS p ON p.id = w.project_id WHERE w.id = ?",
            (id,),
        )
        return (row[0], bool(row[1])) if row is not None else None

    async def get_sealed_token(self, id: int) -> SealedToken | None:
        """The webhook's secret token; `None` when the webhook does not exist or has no token."""
        row = await self.db.fetch_one(
            "SELECT w.project_id, w.secret_version, w.secret_ciphertext,"
            " k.id AS key_id, k.project_id AS key_project_id, k.wrapped"
            " FROM webhooks AS w JOIN project_keys AS k ON k.id = w.project_key_id"
            " WHERE w.id = ?",
            (id,),
        )
        if row is None:
            return None
        key = ProjectKey(row["key_id"], row["key_project_id"], row["wrapped"])
        return SealedToken(row["project_id"], row["secret_version"], row["secret_ciphertext"], key)

    async def set_first_token(self, id: int, *, project_key_id: int, ciphertext: str) -> Webhook:
        """Store the secret token of a new webhook. It is part of the creation, so the webhook's
        version stays."""
        rows = await self.db.execute_returning(
            "UPDATE webhooks SET secret_ciphertext = ?, project_key_id = ?, secret_version = 1"
            " WHERE id = ? RETURNING *",
            (ciphertext, project_key_id, id),
        )
        return self.model(rows[0])

    async def page(self, project_id: int, *, limit: int, after: Position | None) -> Page[Webhook]:
        """Up to `limit` webhooks of a project, newest first, after the position `after`."""
        query = Query("SELECT * FROM webhooks")
        query.where("project_id = ?", project_id)
        query.keyset(("id",), after, descending=True, limit=limit)
        return await fetch_page(self.db, query, limit, self.model, ("id",), members=_MEMBERS)

    async def receivers(self, ids: Sequence[int]) -> dict[int, Receiver]:
        """Those of the webhooks that accept deliveries, by id."""
        rows = await self.db.fetch_all(
            "SELECT w.id, w.project_id, w.secret_version"
            " FROM webhooks AS w JOIN projects AS p ON p.id = w.project_id"
            f" WHERE {among('w.id', ids)} AND w.is_active <> 0 AND p.status <> 'deleted'",
            tuple(ids),
        )
        return {row[0]: Receiver(row[1], row[2]) for row in rows}

    async def set_triggered(self, ids: Sequence[int]) -> None:
        """Note that deliveries for these webhooks arrived now. The webhooks' versions stay."""
        await self.db.execute(
            f"UPDATE webhooks SET last_triggered_at = ? WHERE {among('id', ids)}",
            (self.now(), *ids),
        )


_MEMBERS = json_members(Webhook)
