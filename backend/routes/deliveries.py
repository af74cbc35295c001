"""What senders deliver to webhooks: the one way in that asks for a signature, not for a token."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response, status

from backend.dependencies import (
    Cursor,
    GuardedRoute,
    Id,
    Limit,
    Service,
    client_address,
    problems,
)
from backend.errors import BadSignature
from backend.http.github_deliveries import SIGNATURE_HEADER, read_github_delivery, read_head
from backend.http.inbound_budget import InboundLimits
from backend.routes.webhooks import WebhookId
from backend.schemas.webhooks import WebhookDeliveryFull, WebhookDeliveryList
from models import WebhookDelivery

router = APIRouter(
    prefix="/api/webhooks/{webhook_id}/deliveries", tags=["webhooks"], route_class=GuardedRoute
)

DeliveryId = Annotated[Id, Path(description="The delivery's id here.", examples=[1])]


def _header(name: str, description: str, example: str) -> dict[str, Any]:
    """A header's documentation: it is read by hand, because a wrong one has its own answer."""
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
    responses={
        200: {"model": WebhookDelivery, "description": "It came before: nothing was stored."},
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
                    "schema": {"type": "object", "examples": [{"action": "opened", "number": 1}]}
                }
            },
        },
    },
)
async def receive_github_delivery(
    webhook_id: WebhookId, request: Request, service: Service, response: Response
) -> WebhookDelivery:
    """Take a delivery of GitHub's in, once. It needs a signature instead of a token."""
    state = request.app.state
    limits: InboundLimits = state.inbound
    address = client_address(request)
    try:
        head = read_head(request)
        with limits.body(webhook_id, address, head.length) as body:
            target = await service.deliveries.target(webhook_id)
            incoming = await read_github_delivery(request, head, target.secret_token, body, limits)
            # All senders together are one client among those that write.
            async with state.seats["writing"].seat("deliveries"):
                delivery, is_new = await service.deliveries.receive(target, incoming)
    except BadSignature:
        limits.refused["signature"] += 1
        # Sending none is no attempt, as sending no token is none.
        if SIGNATURE_HEADER in request.headers:
            state.limits.count_failure(address, "signature")
        raise
    response.headers["Location"] = f"/api/webhooks/{webhook_id}/deliveries/{delivery.id}"
    if not is_new:
        response.status_code = status.HTTP_200_OK
    return delivery


@router.get("", responses=problems("webhook_not_found", "bad_cursor"))
async def list_deliveries(
    webhook_id: WebhookId,
    service: Service,
    event: Annotated[
        str | None, Query(max_length=100, description="Only of this event, such as `push`.")
    ] = None,
    guid: Annotated[
        str | None, Query(max_length=100, description="Only the one with this id at its sender.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> WebhookDeliveryList:
    """One page of what was delivered, newest first, without the payloads."""
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
    """A delivery with its payload, which stands in the answer byte for byte as it came."""
    delivery, payload = await service.deliveries.get(webhook_id, delivery_id)
    # Reading it and writing it anew would change numbers that no double holds.
    head = delivery.model_dump_json().removesuffix("}")
    return Response(f'{head},"payload":{payload}}}'.encode(), media_type="application/json")
