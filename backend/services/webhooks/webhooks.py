"""Use cases for webhooks. A secret token is never returned to a client."""

import hmac
from collections.abc import Collection
from typing import Any

from pydantic import SecretStr

from backend.crypto.envelope import SecretContext
from backend.errors import ChangedOutside, ProjectNotFound, SecretUnreadable, WebhookNotFound
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import WEBHOOKS
from backend.repositories.guarded_rows import GuardedRow
from backend.repositories.webhook_repository import StoredWebhook
from backend.schemas.webhooks import WebhookCreate, WebhookList, WebhookUpdate
from backend.services.base import (
    Kit,
    UseCases,
    differing,
    existing_project,
    require_live_project,
    unit_of_work,
)
from backend.services.kinds import Kind
from backend.services.preconditions import is_conditional, matched
from backend.services.principal import current_principal
from backend.services.projects.secret_sealing import SecretSealing, stored_key
from models import Webhook

_TOKEN = "secret_token"  # noqa: S105 - a field's name
_ALL_FIELDS = frozenset(WebhookUpdate.model_fields)


class Webhooks(UseCases):
    """Creating, reading, changing and deleting webhooks."""

    def __init__(self, kit: Kit, sealing: SecretSealing) -> None:
        super().__init__(kit)
        self._sealing = sealing

    @unit_of_work
    async def create(self, project_id: int, webhook: WebhookCreate) -> Webhook:
        """A new webhook. Raises `ProjectNotFound`, and `SecretUnreadable` when the project's key
        can't be used."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            data = webhook.model_dump(exclude={_TOKEN})
            created = await repositories.webhooks.create({**data, "project_id": project_id})
            if webhook.secret_token is not None:
                sealed = await self._sealed_token(repositories, created, webhook.secret_token)
                created = await repositories.webhooks.set_first_token(
                    created.id,
                    project_key_id=sealed["project_key_id"],
                    ciphertext=sealed["secret_ciphertext"],
                )
            await self._record_webhook(
                repositories, Kind.WEBHOOK_CREATED, created, webhook.model_fields_set
            )
            return created

    @unit_of_work(read_only=True)
    async def page(self, project_id: int, *, limit: int, cursor: str | None) -> WebhookList:
        """One page, newest first. Raises `ProjectNotFound` and `BadCursor`."""
        listing = self.kit.listing("webhooks", project_id, cursor=cursor)
        async with self.transaction() as repositories:
            await existing_project(repositories, project_id)
            page = await repositories.webhooks.page(project_id, limit=limit, after=listing.after)
        return listing.answer(WebhookList, page, webhooks=page.items)

    async def get(self, webhook_id: int) -> Webhook:
        """The webhook. Raises `WebhookNotFound`."""
        return await existing_webhook(self.repositories, webhook_id)

    @unit_of_work
    async def update(self, webhook_id: int, update: WebhookUpdate) -> Webhook:
        """The webhook with the given fields changed; the same as before when none differs.

        Raises `WebhookNotFound`, `ProjectNotFound` when its project is deleted,
        `SecretUnreadable` when the project's key can't be used, and `ChangedOutside` unless all
        fields are given.
        """
        async with self.transaction() as repositories:
            stored = await self._changeable_webhook(repositories, webhook_id)
            webhook = stored.webhook
            expected = matched(webhook.version)
            given = update.given_fields()
            forged = not await self.kit.guard.is_genuine(repositories, WEBHOOKS, webhook_id)
            if forged:
                if not given.keys() >= _ALL_FIELDS:
                    raise ChangedOutside(WEBHOOKS.name)
                last = max(await self.kit.guard.last_version(repositories, _target(webhook_id)), 1)
                await repositories.webhooks.count_from(webhook_id, last)
                expected = None
                # The version of a token is never higher than that of its row.
                webhook = webhook.model_copy(update={"secret_version": last})
            token_given = _TOKEN in given
            token: SecretStr | None = given.pop(_TOKEN, None)
            changes = given if forged else differing(webhook, given)
            fields = set(changes)
            if token_given and (forged or not self._has_token(stored, token)):
                fields.add(_TOKEN)
                changes |= await self._token_columns(repositories, webhook, token)
            if not changes:
                return webhook
            updated = await repositories.webhooks.change(webhook_id, changes, expected=expected)
            if updated is None:
                raise WebhookNotFound
            await self._record_webhook(repositories, Kind.WEBHOOK_UPDATED, updated, fields)
            return updated

    @unit_of_work
    async def delete(self, webhook_id: int) -> None:
        """Remove the webhook and its deliveries, also if its row was deleted outside the service.
        Raises `WebhookNotFound`, and `ProjectNotFound` when its project is deleted."""
        async with self.transaction() as repositories:
            project_id = await self._project_of(repositories, webhook_id)
            if is_conditional():
                webhook = await repositories.webhooks.get_by_id(webhook_id)
                matched(webhook.version if webhook is not None else None)
            await repositories.webhooks.delete(webhook_id)
            await self.kit.audit.record(
                repositories,
                Kind.WEBHOOK_DELETED,
                target=_target(webhook_id),
                project_id=project_id,
                row=GuardedRow(WEBHOOKS, webhook_id),
            )

    async def _project_of(self, repositories: Repositories, webhook_id: int) -> int:
        """The webhook's project: of its row, or of the record if the row was deleted outside the
        service. Raises the errors of `delete`."""
        found = await repositories.webhooks.project_of(webhook_id)
        if found is not None:
            project_id, is_deleted = found
            if not current_principal().sees(project_id):
                raise WebhookNotFound
            if is_deleted:
                raise ProjectNotFound
            return project_id
        target = _target(webhook_id)
        if not await self.kit.guard.must_exist(repositories, WEBHOOKS, target):
            raise WebhookNotFound
        recorded = await repositories.guarded_rows.project_of(target)
        # What belonged to a purged project has no tombstone of its own.
        if recorded is None or not await repositories.projects.exists(recorded):
            raise WebhookNotFound
        if not current_principal().sees(recorded):
            raise WebhookNotFound
        await require_live_project(repositories, recorded)
        return recorded

    def open_token(self, stored: StoredWebhook) -> SecretStr | None:
        """The webhook's secret token; `None` when it has none. Raises `SecretUnreadable`."""
        webhook = stored.webhook
        if webhook.secret_ciphertext is None or stored.key is None:
            return None
        context = token_context(webhook.project_id, webhook.id, webhook.secret_version)
        return self.kit.vault.open(stored_key(stored.key), context, webhook.secret_ciphertext)

    def _has_token(self, stored: StoredWebhook, token: SecretStr | None) -> bool:
        try:
            present = self.open_token(stored)
        except SecretUnreadable:
            return False
        if present is None or token is None:
            return present is token
        return hmac.compare_digest(
            present.get_secret_value().encode(), token.get_secret_value().encode()
        )

    async def _token_columns(
        self, repositories: Repositories, webhook: Webhook, token: SecretStr | None
    ) -> dict[str, Any]:
        if token is not None:
            return await self._sealed_token(repositories, webhook, token)
        # A new version, so that deliveries that are being checked against the old token notice.
        version = webhook.secret_version + 1
        return {"secret_ciphertext": None, "project_key_id": None, "secret_version": version}

    async def _sealed_token(
        self, repositories: Repositories, webhook: Webhook, token: SecretStr
    ) -> dict[str, Any]:
        key = await self._sealing.current_key(repositories, webhook.project_id)
        version = webhook.secret_version + 1
        return {
            "secret_ciphertext": self.kit.vault.seal(
                key, token_context(webhook.project_id, webhook.id, version), token
            ),
            "project_key_id": key.id,
            "secret_version": version,
        }

    async def _changeable_webhook(
        self, repositories: Repositories, webhook_id: int
    ) -> StoredWebhook:
        stored = await repositories.webhooks.get_stored(webhook_id)
        if stored is None or not current_principal().sees(stored.webhook.project_id):
            raise WebhookNotFound
        if stored.in_deleted_project:
            raise ProjectNotFound
        return stored

    async def _record_webhook(
        self,
        repositories: Repositories,
        kind: Kind,
        webhook: Webhook,
        fields: Collection[str],
    ) -> None:
        await self.kit.audit.record(
            repositories,
            kind,
            target=_target(webhook.id),
            project_id=webhook.project_id,
            fields=fields,
            version=webhook.version,
            row=GuardedRow(WEBHOOKS, webhook.id),
        )


async def existing_webhook(repositories: Repositories, webhook_id: int) -> Webhook:
    """The webhook. Raises `WebhookNotFound`, also when the current principal may not see its
    project."""
    webhook = await repositories.webhooks.get_by_id(webhook_id)
    if webhook is None or not current_principal().sees(webhook.project_id):
        raise WebhookNotFound
    return webhook


def _target(webhook_id: int) -> str:
    """The target of a webhook's entries in the record."""
    return f"webhooks/{webhook_id}"


def token_context(project_id: int, webhook_id: int, version: int) -> SecretContext:
    """The context that a webhook's secret token is bound to."""
    return SecretContext(project_id, str(webhook_id), version, "webhook")
