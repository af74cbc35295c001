"""Deliveries to webhooks, the only call that needs a signature instead of a token."""

from typing import Annotated, Any

from fastapi import Path, Query, Request, Response, status

from backend.dependencies import (
    Cursor,
    GuardedRouter,
    Id,
    Limit,
    Service,
    json_response,
    problems,
)
from backend.http.github_deliveries import SIGNATURE_HEADER, take_github_delivery
from backend.http.json_answer import JsonAnswer
from backend.http.route_policy import reads, without_token
from backend.routes.webhooks import WebhookId
from backend.schemas.webhooks import WebhookDeliveryFull, WebhookDeliveryList
from models import Scope, WebhookDelivery

router = GuardedRouter(
    tag="webhooks",
    prefix="/api/webhooks/{webhook_id}/deliveries",
    policies={
        # The signature replaces the token, and the endpoint takes a slot after checking it.
        ("POST", "/api/webhooks/{webhook_id}/deliveries/github"): without_token(
            # The largest delivery that GitHub sends.
            body_limit=25 * 1024 * 1024
        ),
        ("GET", "/api/webhooks/{webhook_id}/deliveries"): reads(Scope.PROJECTS_READ),
        ("GET", "/api/webhooks/{webhook_id}/deliveries/{delivery_id}"): reads(Scope.PROJECTS_READ),
    },
)

DeliveryId = Annotated[Id, Path(description="The delivery's id in Strongroom.", examples=[1])]


def _header(name: str, description: str, example: str) -> dict[str, Any]:
    """The documentation of a header. The code reads it itself, since a wrong header has its own
    error."""
    return {
        "in": "header",
        "name": name,
        "required": True,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


@router.post(
    "/github",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=WebhookDelivery,
    responses={
        200: {
            "model": WebhookDelivery,
            "description": "The delivery arrived earlier; nothing was stored.",
        },
        **problems("webhook_not_found", "bad_request", "rate_limited", body=True),
    },
    openapi_extra={
        "parameters": [
            _header(
                SIGNATURE_HEADER,
                "`sha256=` and the HMAC-SHA-256 of the body with the secret token, in hex.",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            ),
            _header(
                "X-GitHub-Delivery",
                "The delivery's id at GitHub.",
                "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            ),
            _header("X-GitHub-Event", "What happened.", "pull_request"),
        ],
        "requestBody": {
            "required": True,
            "description": "The payload, up to 25 MiB.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "additionalProperties": True,
                        "examples": [{"action": "opened", "number": 1}],
                    }
                }
            },
        },
    },
)
async def receive_github_delivery(
    webhook_id: WebhookId, request: Request, service: Service
) -> Response:
    """Accept a delivery from GitHub, once. It needs a signature instead of a token."""
    received = await take_github_delivery(request, webhook_id, service.deliveries)
    return JsonAnswer(
        received.json,
        status.HTTP_202_ACCEPTED if received.is_new else status.HTTP_200_OK,
        f"/api/webhooks/{webhook_id}/deliveries/{received.id}",
    )


@router.get("", responses=problems("webhook_not_found", "bad_cursor"))
async def list_deliveries(
    webhook_id: WebhookId,
    service: Service,
    event: Annotated[
        str | None,
        Query(max_length=100, description="Only deliveries of this event, such as `push`."),
    ] = None,
    guid: Annotated[
        str | None,
        Query(max_length=100, description="Only the delivery with this id at its sender."),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> WebhookDeliveryList:
    """One page of deliveries, newest first, without their payloads."""
    return await service.deliveries.page(
        webhook_id, event=event, guid=guid, limit=limit, cursor=cursor
    )


@router.get(
    "/{delivery_id}",
    response_model=WebhookDeliveryFull,
    responses=problems("webhook_not_found", "delivery_not_found"),
)
async def get_delivery(
    webhook_id: WebhookId, delivery_id: DeliveryId, service: Service
) -> Response:
    """A delivery with its payload, byte for byte as it arrived."""
    return json_response(await service.deliveries.get_json(webhook_id, delivery_id))
