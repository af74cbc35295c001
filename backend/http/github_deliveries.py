"""Receives deliveries from GitHub; the sender is unknown until the signature is checked."""

import asyncio
import re
from dataclasses import dataclass

from pydantic import SecretStr
from pydantic_core import from_json
from starlette.requests import Request

from backend.crypto.signed_body import SignedBody, claimed_mac
from backend.errors import BadRequest, BadSignature, MalformedJson, RateLimited
from backend.http.authentication import client_address
from backend.http.inbound_budget import NO_ROOM, InboundBody, InboundLimits
from backend.http.route_policy import Queue
from backend.http.state import state_of
from backend.http.strict_json import check_content_type, parse_json, refuse_other_encoding
from backend.http.token_checks import has_arrived
from backend.services.webhooks.deliveries import Deliveries, IncomingDelivery, Received

SIGNATURE_HEADER = "X-Hub-Signature-256"
_EVENT = re.compile(r"[a-z0-9_]{1,100}")
_GUID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_ACTION = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_NOT_JSON = "the payload is not JSON in UTF-8"
_EXPLAINED_BYTES = 1_000_000
"""What is wrong in a larger payload is not looked for, because the search blocks the event loop."""


async def take_github_delivery(
    request: Request, webhook_id: int, deliveries: Deliveries
) -> Received:
    """Store the delivery in the request, and return it.

    Raises `BadSignature`, which is counted against the sender's address, and the errors of
    `read_head`, `read_github_delivery` and `Deliveries.receive`.
    """
    state = state_of(request.app)
    limits = state.inbound
    address = client_address(request)
    try:
        head = read_head(request)
        with limits.body(webhook_id, address, head.length) as body:
            target = await deliveries.target(webhook_id)
            incoming = await read_github_delivery(request, head, target.secret_token, body, limits)
            # All senders together count as one client of the writing queue.
            async with state.queues[Queue.WRITING].slot("deliveries"):
                return await deliveries.receive(target, incoming)
    except BadSignature:
        limits.refused["signature"] += 1
        # A request without a signature is no attempt, like a request without a token.
        if SIGNATURE_HEADER in request.headers:
            state.limits.count_failure(address, "signature")
        raise


@dataclass(frozen=True, slots=True)
class DeliveryHead:
    """The headers of a delivery."""

    claimed_mac: str
    guid: str
    event: str
    length: int | None
    """The size of the body in bytes; `None` when the request does not tell it."""


def read_head(request: Request) -> DeliveryHead:
    """The delivery's headers. Needs neither the webhook nor the body.

    Raises `BadSignature`, `UnsupportedMediaType`, `BadRequest`, and `MalformedJson` for an empty
    body.
    """
    headers = request.headers
    mac = claimed_mac(headers.get(SIGNATURE_HEADER))
    check_content_type(request)
    guid = _header(request, "X-GitHub-Delivery", _GUID)
    event = _header(request, "X-GitHub-Event", _EVENT)
    length = None
    if "transfer-encoding" not in headers:
        said = headers.get("content-length", "0")
        length = int(said) if said.isdecimal() else None
    if length == 0:
        raise MalformedJson(_NOT_JSON)
    return DeliveryHead(mac, guid, event, length)


async def read_github_delivery(
    request: Request,
    head: DeliveryHead,
    secret: SecretStr,
    body: InboundBody,
    limits: InboundLimits,
) -> IncomingDelivery:
    """The request's delivery, signed with `secret`. The body is not parsed before its signature
    is checked.

    Raises `BadSignature`, `MalformedJson`, `BodyTooLarge` and `RateLimited`, and `BadRequest` when
    the body arrives too slowly.
    """
    signed = SignedBody(secret, head.claimed_mac)
    try:
        if has_arrived(request):
            _add(request._body, signed, body)
        else:
            await _read(request, signed, body, limits)
    except RateLimited:
        limits.refused["no_room"] += 1
        raise
    payload = signed.verified()
    body.is_checked = True
    action = _action(payload)
    return IncomingDelivery(head.guid, head.event, action, payload.decode(), len(payload))


def _header(request: Request, name: str, form: re.Pattern[str]) -> str:
    value = request.headers.get(name, "")
    if not form.fullmatch(value):
        problem = "is missing" if not value else "has a value that GitHub never sends"
        raise BadRequest(
            f"the header {name} {problem}: let GitHub itself send the deliveries of this webhook"
        )
    return value


async def _read(
    request: Request, signed: SignedBody, body: InboundBody, limits: InboundLimits
) -> None:
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(began + limits.seconds_for(0)) as deadline:
            body.read_within(deadline)
            async for piece in request.stream():
                if piece:
                    _add(piece, signed, body)
                    deadline.reschedule(began + limits.seconds_for(body.size))
    except TimeoutError:
        if body.is_ended:
            raise RateLimited(NO_ROOM) from None
        limits.refused["too_slow"] += 1
        raise BadRequest("the body arrived too slowly: send it without pauses") from None


def _add(piece: bytes, signed: SignedBody, body: InboundBody) -> None:
    body.take(len(piece))
    signed.add(piece)


def _action(body: bytearray) -> str | None:
    """The payload's `action`, if it has one. Raises `MalformedJson` unless it is a JSON object."""
    try:
        payload = from_json(body, allow_inf_nan=False)
    except ValueError:
        if len(body) <= _EXPLAINED_BYTES:
            parse_json(bytes(body), "the payload")
        refuse_other_encoding(body, "the payload")
        # The parser's message may repeat submitted text.
        raise MalformedJson(_NOT_JSON) from None
    if not isinstance(payload, dict):
        raise MalformedJson("the payload is not a JSON object")
    action = payload.get("action")
    return action if isinstance(action, str) and _ACTION.fullmatch(action) else None
