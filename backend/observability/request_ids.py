"""Ids of requests: made for those that came without one, and known to the code that serves them."""

import itertools
import secrets
from contextvars import ContextVar, Token

_PREFIX = secrets.token_hex(6)
_COUNTER = itertools.count(1)
_current: ContextVar[str | None] = ContextVar("strongroom_request_id", default=None)


def new_request_id() -> str:
    """An id that no other request of this or another process has; it need not be secret."""
    return f"{_PREFIX}-{next(_COUNTER):08x}"


def current_request_id() -> str | None:
    """The id of the request that the running code serves, inside units of work as well; `None`
    outside of requests."""
    return _current.get()


def enter_request(request_id: str) -> Token[str | None]:
    """Serve the request of this id from here on, until `leave_request`."""
    return _current.set(request_id)


def leave_request(token: Token[str | None]) -> None:
    """Serve what was served before `enter_request` gave this token."""
    _current.reset(token)
