"""Use cases for webhook deliveries: receiving each one once, and reading them."""

import secrets
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import SecretStr

from backend.crypto.envelope import SecretContext, StoredProjectKey
from backend.errors import BadSignature, DeliveryNotFound, SecretUnreadable, WebhookNotFound
from backend.repositories.guarded_rows import WEBHOOKS
from backend.repositories.webhook_delivery_repository import DeliveryFilter
from backend.repositories.webhook_repository import SealedToken
from backend.schemas.webhooks import WebhookDeliveryList
from backend.services.base import UseCases, unit_of_work
from backend.services.kinds import Kind
from backend.services.principal import SENDER, acting_as
from backend.services.projects.secret_sealing import stored_key
from backend.services.webhooks.webhooks import existing_webhook, token_context
from database.engine import is_utf8
from models import WebhookDelivery

# The same message for a webhook that is missing, inactive, or in a deleted project.
_CLOSED = "no active webhook has this id"


@dataclass(frozen=True, slots=True)
class DeliveryTarget:
    """The webhook of a delivery, as it was when the delivery began to arrive."""

    webhook_id: int
    secret_version: int
    secret_token: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class IncomingDelivery:
    """A delivery with a valid signature."""

    guid: str
    event: str
    action: str | None
    payload: str = field(repr=False)
    """The body as it was sent: the text of a JSON object."""
    payload_bytes: int


class Deliveries(UseCases):
    """Receiving and reading deliveries."""

    async def target(self, webhook_id: int) -> DeliveryTarget:
        """The webhook that a delivery is for, whether it is open or closed.

        If the webhook does not exist, its secret token can't be read, or its row is not as the
        record left it, the target has a random token. So a sender without the token can't find out
        which webhooks exist.
        """
        sealed = await self._sealed_token(webhook_id)
        if sealed is not None:
            context = token_context(sealed.project_id, webhook_id, sealed.version)
            try:
                token = self.kit.vault.open(stored_key(sealed.key), context, sealed.ciphertext)
                return DeliveryTarget(webhook_id, sealed.version, token)
            except SecretUnreadable:
                pass
        # Decrypted like a real token, so that it takes the same time.
        return DeliveryTarget(webhook_id, 0, self.kit.vault.open(*self._unknown_token))

    @unit_of_work(read_only=True)
    async def _sealed_token(self, webhook_id: int) -> SealedToken | None:
        async with self.transaction() as repositories:
            sealed = await repositories.webhooks.get_sealed_token(webhook_id)
            if not await self.kit.guard.is_genuine(repositories, WEBHOOKS, webhook_id):
                return None
            return sealed

    @cached_property
    def _unknown_token(self) -> tuple[StoredProjectKey, SecretContext, str]:
        """A sealed token that belongs to no webhook."""
        key = self.kit.vault.new_project_key(0, 0)
        context = token_context(0, 0, 0)
        token = SecretStr(secrets.token_urlsafe(32))
        return key, context, self.kit.vault.seal(key, context, token)

    @unit_of_work
    async def receive(
        self, target: DeliveryTarget, delivery: IncomingDelivery
    ) -> tuple[WebhookDelivery, bool]:
        """The stored delivery, and whether it is new: a repeated one has no effect.

        Raises `WebhookNotFound` when the webhook is closed, and `BadSignature` when its secret
        token was changed while the delivery arrived.
        """
        async with self.transaction() as repositories:
            stored = await repositories.webhooks.get_stored(target.webhook_id)
            if stored is None or not stored.is_open:
                raise WebhookNotFound(_CLOSED)
            if stored.webhook.secret_version != target.secret_version:
                raise BadSignature
            added = await repositories.deliveries.add(
                target.webhook_id,
                guid=delivery.guid,
                event=delivery.event,
                action=delivery.action,
                payload=delivery.payload,
                payload_bytes=delivery.payload_bytes,
            )
            if added is not None:
                await repositories.webhooks.set_triggered(target.webhook_id, added.created_at)
                with acting_as(SENDER):
                    await self.kit.audit.record(
                        repositories,
                        Kind.DELIVERY_RECEIVED,
                        target=f"webhooks/{target.webhook_id}/deliveries/{added.id}",
                        project_id=stored.webhook.project_id,
                    )
                return added, True
            known = await repositories.deliveries.get_by_guid(target.webhook_id, delivery.guid)
            assert known is not None  # noqa: S101 - it is what kept the new one out
            return known, False

    @unit_of_work(read_only=True)
    async def page(
        self,
        webhook_id: int,
        *,
        event: str | None = None,
        guid: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> WebhookDeliveryList:
        """One page of a webhook's deliveries, newest first, without their payloads.

        Raises `WebhookNotFound` and `BadCursor`.
        """
        listing = self.kit.listing("deliveries", webhook_id, event, guid, cursor=cursor)
        async with self.transaction() as repositories:
            await existing_webhook(repositories, webhook_id)
            page = await repositories.deliveries.page(
                webhook_id, DeliveryFilter(event, guid), limit=limit, after=listing.after
            )
        return listing.answer(WebhookDeliveryList, page, deliveries=page.items)

    @unit_of_work(read_only=True)
    async def get_json(self, webhook_id: int, delivery_id: int) -> bytes:
        """A delivery as the JSON of a `WebhookDeliveryFull`. It contains the payload byte for byte,
        because decoding and encoding would change numbers that a double can't hold. If another
        program wrote a payload that is not UTF-8, U+FFFD stands for what can't be decoded.

        Raises `WebhookNotFound` and `DeliveryNotFound`.
        """
        async with self.transaction() as repositories:
            await existing_webhook(repositories, webhook_id)
            found = await repositories.deliveries.get_with_payload(webhook_id, delivery_id)
        if found is None:
            raise DeliveryNotFound
        delivery, payload = found
        head = delivery.model_dump_json().removesuffix("}")
        # On the reader's thread, so that the event loop need not copy it.
        return b"".join((head.encode(), b',"payload":', _readable(payload), b"}"))


def _readable(text: bytes) -> bytes:
    return text if is_utf8(text) else text.decode("utf-8", "replace").encode()
