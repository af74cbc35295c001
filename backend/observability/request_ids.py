"""The current request: its id, created for requests without one, and its client's address."""

import itertools
import secrets
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType
from typing import Any, NamedTuple

_PREFIX = secrets.token_hex(6)
_COUNTER = itertools.count(1)
_LONGEST_ADDRESS = 100


class _Request(NamedTuple):
    id: str | None
    scope: Mapping[str, Any]
    """Its ASGI scope. The client is read from it only when it is needed."""


_NO_REQUEST = _Request(None, MappingProxyType({}))
_current: ContextVar[_Request] = ContextVar("strongroom_request", default=_NO_REQUEST)


def new_request_id() -> str:
    """An id that is unique among the requests of all processes; it is not secret."""
    return f"{_PREFIX}-{next(_COUNTER):08x}"


def current_request_id() -> str | None:
    """The id of the current request, also inside units of work; `None` outside of requests."""
    return _current.get().id


def current_client_address() -> str | None:
    """The address of the current request's client, from a trusted proxy or from the connection;
    `None` outside of requests and when it is not known."""
    client = _current.get().scope.get("client")
    if client is None:
        return None
    # Without the zone of a link-local address, which is meaningful on one machine only.
    return client[0].partition("%")[0][:_LONGEST_ADDRESS] or None


def enter_request(
    request_id: str, scope: Mapping[str, Any] = _NO_REQUEST.scope
) -> "Token[_Request]":
    """Make this the current request until `leave_request` gets the returned token. `scope` is its
    ASGI scope."""
    return _current.set(_Request(request_id, scope))


def leave_request(token: "Token[_Request]") -> None:
    """Restore the state before the `enter_request` that returned this token."""
    _current.reset(token)
