"""Reading what GitHub sends: from somebody unknown until the signature has been checked."""

import asyncio
import re

from pydantic import SecretStr
from pydantic_core import from_json
from starlette.requests import Request

from backend.errors import BadRequest, MalformedJson, RateLimited
from backend.services.delivery_use_cases import IncomingDelivery
from backend.services.signed_body import SignedBody
from backend.strict_json import check_content_type, refuse_other_encoding

_EVENT = re.compile(r"[a-z0-9_]{1,100}")
_GUID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_ACTION = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


class InboundLimits:
    """What unknown senders may take up, all of them together: memory for bodies that nobody has
    checked yet, and for each body the time until it is there."""

    def __init__(self, *, max_bytes: int = 100 * 1024 * 1024, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self.free = max_bytes
        """Bytes that may still come in now."""

    def take(self, size: int) -> None:
        """Count `size` bytes more. Raises `RateLimited` when there is no room for them."""
        if size > self.free:
            raise RateLimited("too much is being delivered at once: send it again later")
        self.free -= size

    def give_back(self, size: int) -> None:
        """Count `size` bytes less."""
        self.free += size


async def read_github_delivery(
    request: Request, secret: SecretStr, limits: InboundLimits
) -> IncomingDelivery:
    """The request's delivery, signed with `secret`. Nothing of the body is looked into before its
    signature was checked.

    Raises `BadSignature`; `UnsupportedMediaType`, `BadRequest` for headers, and `MalformedJson`;
    `BodyTooLarge`, `RateLimited`, and `BadRequest` when the body takes too long.
    """
    signed = SignedBody(secret, request.headers.get("x-hub-signature-256"))
    check_content_type(request)
    guid = _header(request, "X-GitHub-Delivery", _GUID)
    event = _header(request, "X-GitHub-Event", _EVENT)
    body = await _read(request, signed, limits)
    action = _action(body)
    return IncomingDelivery(guid, event, action, body.decode(), len(body))


def _header(request: Request, name: str, form: re.Pattern[str]) -> str:
    value = request.headers.get(name, "")
    if not form.fullmatch(value):
        problem = "is missing" if not value else "has a value that GitHub does not send"
        raise BadRequest(
            f"the header {name} {problem}: set the webhook up with GitHub's own sender"
        )
    return value


async def _read(request: Request, signed: SignedBody, limits: InboundLimits) -> bytearray:
    taken = 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for piece in request.stream():
                limits.take(len(piece))
                taken += len(piece)
                signed.add(piece)
    except TimeoutError:
        raise BadRequest(f"the body was not there after {limits.seconds:g} seconds") from None
    finally:
        limits.give_back(taken)
    return signed.verified()


def _action(body: bytearray) -> str | None:
    """The payload's `action`, if it has one. Raises `MalformedJson` unless it is a JSON object."""
    try:
        payload = from_json(body, allow_inf_nan=False)
    except ValueError:
        refuse_other_encoding(body, "the payload")
        # Its message may repeat what was sent.
        raise MalformedJson("the payload is not JSON in UTF-8") from None
    if not isinstance(payload, dict):
        raise MalformedJson("the payload is not a JSON object")
    action = payload.get("action")
    return action if isinstance(action, str) and _ACTION.fullmatch(action) else None
