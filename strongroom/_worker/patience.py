"""How a worker gets through an outage: it asks again until there is an answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from strongroom._errors import ConnectionFailed, StrongroomError
from strongroom._retrying import pause

T = TypeVar("T")

log = logging.getLogger("strongroom.worker")
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500


def is_temporary(error: StrongroomError) -> bool:
    """Whether the service may answer the same request later. It has an `Idempotency-Key`, or is
    harmless."""
    status = error.status or 0
    return (
        isinstance(error, ConnectionFailed)
        or status == _TOO_MANY_REQUESTS
        or status >= _SERVER_ERRORS
        or error.code == "idempotency_in_progress"
    )


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What the call returns, however long the service is away. Raises its refusals."""
    attempt = 0
    while True:
        try:
            found = await call()
        except StrongroomError as error:
            if not is_temporary(error):
                raise
            if attempt == 0:
                log.warning("the service does not answer, and is asked again: %s", error)
            await asyncio.sleep((error.retry_after or 0.0) + pause(attempt))
            attempt += 1
        else:
            if attempt:
                log.info("the service answers again")
            return found
