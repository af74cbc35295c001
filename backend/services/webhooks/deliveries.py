"""Use cases for webhook deliveries: receiving each one once, and reading them."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from pydantic import SecretStr

from backend.crypto.envelope import SecretContext, StoredProjectKey
from backend.errors import BadSignature, DeliveryNotFound, SecretUnreadable, WebhookNotFound
from backend.repositories.guarded_kinds import WEBHOOKS
from backend.repositories.webhook_delivery_repository import (
    DeliveryFilter,
    NewDelivery,
    StoredDelivery,
)
from backend.repositories.webhook_repository import Receiver, SealedToken
from backend.schemas.webhooks import WebhookDeliveryList
from backend.services.base import UseCases, unit_of_work
from backend.services.kinds import Kind
from backend.services.principal import SENDER, act_as, acting_as
from backend.services.projects.secret_sealing import stored_key
from backend.services.recording import AuditEvent
from backend.services.webhooks.webhooks import existing_webhook, token_context
from database.engine import ALONE, Call, is_utf8

# The same message for a webhook that is missing, inactive, or in a deleted project.
_CLOSED = "no active webhook has this id"
_LARGEST_TOGETHER: Final = 65_536
"""The bytes of a payload that may share a statement with others. The driver copies all values of a
statement, and larger ones gain nothing."""


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


class Received(NamedTuple):
    """A delivery that was received."""

    id: int
    json: bytes
    """Its JSON, without the payload."""
    is_new: bool
    """Whether it was stored now. The same delivery may have arrived before."""


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

    @unit_of_work(together="receive_together")
    async def receive(self, target: DeliveryTarget, delivery: IncomingDelivery) -> Received:
        """The stored delivery. A repeated one has no effect.

        Raises `WebhookNotFound` when the webhook is closed, and `BadSignature` when its secret
        token was changed while the delivery arrived.
        """
        async with self.transaction() as repositories:
            receiver = (await repositories.webhooks.receivers([target.webhook_id])).get(
                target.webhook_id
            )
            if receiver is None:
                raise WebhookNotFound(_CLOSED)
            if receiver.secret_version != target.secret_version:
                raise BadSignature
            [added] = await repositories.deliveries.add([_new(target, delivery)])
            if added is None:
                known = await repositories.deliveries.get_by_guid(target.webhook_id, delivery.guid)
                assert known is not None  # noqa: S101 - it is what kept the new one out
                return Received(known.id, known.model_dump_json().encode(), is_new=False)
            await repositories.webhooks.set_triggered([target.webhook_id])
            with acting_as(SENDER):
                await self.kit.audit.record_all(repositories, [_event(target, receiver, added)])
            return Received(added.id, added.json, is_new=True)

    async def receive_together(self, calls: Sequence[Call]) -> Sequence[Any]:
        """The outcomes of several `receive` at once."""
        outcomes: list[Any] = [ALONE] * len(calls)
        async with self.transaction() as repositories:
            receivers = await repositories.webhooks.receivers(
                list({call.arguments[0].webhook_id for call in calls})
            )
            fit = [place for place, call in enumerate(calls) if _fits(receivers, *call.arguments)]
            if not fit:
                return outcomes
            added = await repositories.deliveries.add([_new(*calls[at].arguments) for at in fit])
            recorded = []
            triggered = set()
            for place, stored in zip(fit, added, strict=True):
                if stored is None:
                    continue
                call, target = calls[place], calls[place].arguments[0]
                outcomes[place] = Received(stored.id, stored.json, is_new=True)
                triggered.add(target.webhook_id)
                call.context.run(act_as, SENDER)
                recorded.append((call, [_event(target, receivers[target.webhook_id], stored)]))
            if triggered:
                await repositories.webhooks.set_triggered(list(triggered))
                await self.kit.audit.record_calls(repositories, recorded)
        return outcomes

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


def _fits(
    receivers: Mapping[int, Receiver], target: DeliveryTarget, delivery: IncomingDelivery
) -> bool:
    """Whether this delivery can be received with others."""
    receiver = receivers.get(target.webhook_id)
    return (
        receiver is not None
        and receiver.secret_version == target.secret_version
        and delivery.payload_bytes <= _LARGEST_TOGETHER
    )


def _new(target: DeliveryTarget, delivery: IncomingDelivery) -> NewDelivery:
    return NewDelivery(
        target.webhook_id,
        delivery.guid,
        delivery.event,
        delivery.action,
        delivery.payload_bytes,
        delivery.payload,
    )


def _event(target: DeliveryTarget, receiver: Receiver, added: StoredDelivery) -> AuditEvent:
    return AuditEvent(
        Kind.DELIVERY_RECEIVED,
        f"webhooks/{target.webhook_id}/deliveries/{added.id}",
        receiver.project_id,
    )


def _readable(text: bytes) -> bytes:
    return text if is_utf8(text) else text.decode("utf-8", "replace").encode()
