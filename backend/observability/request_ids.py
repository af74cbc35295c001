"""Request ids: created for requests without one, and available to the code that serves them."""

import itertools
import secrets
from contextvars import ContextVar, Token

_PREFIX = secrets.token_hex(6)
_COUNTER = itertools.count(1)
_current: ContextVar[str | None] = ContextVar("strongroom_request_id", default=None)


def new_request_id() -> str:
    """An id that is unique among the requests of all processes; it is not secret."""
    return f"{_PREFIX}-{next(_COUNTER):08x}"


def current_request_id() -> str | None:
    """The id of the current request, also inside units of work; `None` outside of requests."""
    return _current.get()


def enter_request(request_id: str) -> Token[str | None]:
    """Make this the current request until `leave_request` gets the returned token."""
    return _current.set(request_id)


def leave_request(token: Token[str | None]) -> None:
    """Restore the state before the `enter_request` that returned this token."""
    _current.reset(token)
