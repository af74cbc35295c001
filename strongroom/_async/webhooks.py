"""Webhooks and their deliveries."""

import hmac
from collections.abc import Sequence

from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._values import UNSET, Secret, Unset, fields, filters
from strongroom.models import (
    Webhook,
    WebhookDelivery,
    WebhookDeliveryFull,
    WebhookDeliveryList,
    WebhookList,
    WebhookType,
)


class Webhooks(Resource):
    """`client.webhooks`."""

    @operation("createWebhook")
    async def create(
        self,
        project_id: int,
        *,
        webhook_type: WebhookType,
        events: Sequence[str] | Unset = UNSET,
        is_active: bool | Unset = UNSET,
        secret_token: Secret | Unset | None = UNSET,
        webhook_url: str | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> Webhook:
        """Create a webhook. Its secret token is stored encrypted and never shown again."""
        response = await self._transport.post(
            f"/api/projects/{project_id}/webhooks",
            fields(
                webhook_type=webhook_type,
                events=events,
                is_active=is_active,
                secret_token=secret_token,
                webhook_url=webhook_url,
            ),
            idempotency_key=idempotency_key,
        )
        return parsed(Webhook, response)

    @operation("getWebhook")
    async def get(
        self, webhook_id: int, *, if_none_match: int | str | None = None, wait: float | None = None
    ) -> Webhook:
        """The webhook, without its secret token."""
        response = await self._transport.get(
            f"/api/webhooks/{webhook_id}", if_none_match=if_none_match, wait=wait
        )
        return parsed(Webhook, response)

    @operation("listWebhooks")
    def list(
        self, project_id: int, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[Webhook, WebhookList]:
        """The project's webhooks, newest first, without their secret tokens."""
        return Pages(
            self._transport,
            f"/api/projects/{project_id}/webhooks",
            filters(limit=limit, cursor=cursor),
            WebhookList,
            lambda page: page.webhooks,
        )

    @operation("patchWebhook")
    async def update(
        self,
        webhook_id: int,
        *,
        events: Sequence[str] | Unset = UNSET,
        is_active: bool | Unset = UNSET,
        secret_token: Secret | Unset | None = UNSET,
        webhook_type: WebhookType | Unset = UNSET,
        webhook_url: str | Unset | None = UNSET,
        if_match: int | str | None = None,
    ) -> Webhook:
        """Change the given fields and leave the others; null removes the secret token."""
        response = await self._transport.change(
            "PATCH",
            f"/api/webhooks/{webhook_id}",
            fields(
                events=events,
                is_active=is_active,
                secret_token=secret_token,
                webhook_type=webhook_type,
                webhook_url=webhook_url,
            ),
            if_match=if_match,
        )
        return parsed(Webhook, response)

    @operation("deleteWebhook")
    async def delete(self, webhook_id: int, *, if_match: int | str | None = None) -> None:
        """Remove the webhook and its deliveries."""
        await self._transport.change("DELETE", f"/api/webhooks/{webhook_id}", if_match=if_match)

    @operation("listDeliveries")
    def deliveries(
        self,
        webhook_id: int,
        *,
        event: str | None = None,
        guid: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[WebhookDelivery, WebhookDeliveryList]:
        """Deliveries, newest first, without their payloads."""
        return Pages(
            self._transport,
            f"/api/webhooks/{webhook_id}/deliveries",
            filters(event=event, guid=guid, limit=limit, cursor=cursor),
            WebhookDeliveryList,
            lambda page: page.deliveries,
        )

    @operation("getDelivery")
    async def delivery(self, webhook_id: int, delivery_id: int) -> WebhookDeliveryFull:
        """A delivery with its payload, byte for byte as it arrived."""
        response = await self._transport.get(f"/api/webhooks/{webhook_id}/deliveries/{delivery_id}")
        return parsed(WebhookDeliveryFull, response)

    @operation("receiveGithubDelivery")
    async def deliver_github(
        self,
        webhook_id: int,
        payload: bytes,
        *,
        event: str,
        guid: str,
        secret_token: Secret,
    ) -> WebhookDelivery:
        """Deliver this payload as GitHub does, signed with the webhook's secret token: for tests,
        and for relays that take deliveries in another place. The same `guid` is accepted once."""
        key = secret_token if isinstance(secret_token, str) else secret_token.get_secret_value()
        signature = hmac.new(key.encode(), payload, "sha256").hexdigest()
        response = await self._transport.send(
            "POST",
            f"/api/webhooks/{webhook_id}/deliveries/github",
            content=payload,
            headers={
                "Content-Type": "application/json",
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": guid,
                "X-Hub-Signature-256": f"sha256={signature}",
            },
        )
        return parsed(WebhookDelivery, response)
