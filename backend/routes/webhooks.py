"""Webhooks of projects over HTTP."""

from typing import Annotated

from fastapi import Path, Response, status

from backend.dependencies import Cursor, GuardedRouter, Id, Limit, ProjectId, Service, problems
from backend.http.route_policy import reads, writes
from backend.schemas.webhooks import WebhookCreate, WebhookList, WebhookUpdate
from models import Scope, Webhook

router = GuardedRouter(
    tag="webhooks",
    about="Webhooks of projects, and deliveries to them.",
    policies={
        ("GET", "/api/projects/{project_id}/webhooks"): reads(Scope.PROJECTS_READ),
        ("POST", "/api/projects/{project_id}/webhooks"): writes(Scope.PROJECTS_WRITE),
        ("GET", "/api/webhooks/{webhook_id}"): reads(Scope.PROJECTS_READ),
        ("PATCH", "/api/webhooks/{webhook_id}"): writes(Scope.PROJECTS_WRITE),
        ("DELETE", "/api/webhooks/{webhook_id}"): writes(Scope.PROJECTS_WRITE),
    },
)

WebhookId = Annotated[Id, Path(description="The webhook's id.", examples=[1])]


@router.get(
    "/api/projects/{project_id}/webhooks", responses=problems("project_not_found", "bad_cursor")
)
async def list_webhooks(
    project_id: ProjectId, service: Service, limit: Limit = 50, cursor: Cursor = None
) -> WebhookList:
    """One page of the project's webhooks, newest first, without their secret tokens."""
    return await service.webhooks.page(project_id, limit=limit, cursor=cursor)


@router.post(
    "/api/projects/{project_id}/webhooks",
    status_code=status.HTTP_201_CREATED,
    responses=problems("project_not_found", "secret_unreadable", body=True),
)
async def create_webhook(
    project_id: ProjectId, webhook: WebhookCreate, service: Service, response: Response
) -> Webhook:
    """Create a webhook. Its secret token is stored encrypted and never shown again."""
    created = await service.webhooks.create(project_id, webhook)
    response.headers["Location"] = f"/api/webhooks/{created.id}"
    return created


@router.get("/api/webhooks/{webhook_id}", responses=problems("webhook_not_found"))
async def get_webhook(webhook_id: WebhookId, service: Service) -> Webhook:
    """The webhook, without its secret token."""
    return await service.webhooks.get(webhook_id)


@router.patch(
    "/api/webhooks/{webhook_id}",
    responses=problems(
        "webhook_not_found",
        "project_not_found",
        "secret_unreadable",
        "changed_outside",
        body=True,
    ),
)
async def patch_webhook(webhook_id: WebhookId, update: WebhookUpdate, service: Service) -> Webhook:
    """Change the given fields and leave the others; null removes the secret token."""
    return await service.webhooks.update(webhook_id, update)


@router.delete(
    "/api/webhooks/{webhook_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems("webhook_not_found", "project_not_found"),
)
async def delete_webhook(webhook_id: WebhookId, service: Service) -> None:
    """Remove the webhook and its deliveries."""
    await service.webhooks.delete(webhook_id)
