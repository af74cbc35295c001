"""The principal that a request acts for, and what it may do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from backend.errors import Forbidden
from models import Scope

ADMIN: Final = Scope.ADMIN.value


class BrowserSession(NamedTuple):
    """The session that stands for a token."""

    id: int
    token_expires_at: datetime | None
    """When the token itself expires; `None` if it does not."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a token, or every client when authentication is off."""

    name: str
    scopes: frozenset[str]
    token_id: int | None = None
    project_ids: frozenset[int] | None = None
    """The projects it may see; `None` for all."""
    expires_at: datetime | None = None
    """When its token or its session ends; `None` if only a revocation ends it."""
    generation: int = field(default=0, compare=False, repr=False)
    """The `TokenCache.generation` when the token was looked up; a later revocation may have ended
    it."""
    session: BrowserSession | None = None
    """The session with which a browser sent the token's request; `None` for the token itself."""

    def sees(self, project_id: int) -> bool:
        """Whether it may see the project. A project that it may not see answers as missing."""
        return self.project_ids is None or project_id in self.project_ids

    @property
    def visible_ids(self) -> tuple[int, ...] | None:
        """The ids of the projects it may see, in order; `None` for all."""
        return tuple(sorted(self.project_ids)) if self.project_ids is not None else None

    def may(self, scope: str) -> bool:
        """Whether `require` would raise nothing."""
        if scope not in self.scopes and ADMIN not in self.scopes:
            return False
        return scope != ADMIN or self.project_ids is None

    def require(self, scope: str, or_scopes: Sequence[str] = ()) -> None:
        """Raises `Forbidden` unless the scope, one of `or_scopes`, or `admin` is among its scopes.

        Actions that need `admin` concern the whole installation. A token with `admin` that is
        bound to projects may do everything in them, and nothing else.
        """
        if scope not in self.scopes and ADMIN not in self.scopes:
            if any(other in self.scopes for other in or_scopes):
                return
            raise Forbidden(scope)
        if scope == ADMIN and self.project_ids is not None:
            raise Forbidden(scope, "a token that is bound to projects can't do this")

    def require_all_projects(self, scope: str) -> None:
        """Raises `Forbidden`, naming `scope`, when it is bound to projects."""
        if self.project_ids is not None:
            raise Forbidden(scope, "a token that is bound to projects can't do this")


EVERYBODY = Principal("anonymous", frozenset({ADMIN}))
"""The principal of every request when authentication is off."""

SENDER = Principal("anonymous", frozenset())
"""The sender of a delivery, whose signature took the place of a token."""

SYSTEM = Principal("system", frozenset({ADMIN}))
"""The service itself: commands, background work, and code that calls it directly."""

_current: ContextVar[Principal] = ContextVar("strongroom_principal", default=SYSTEM)


def current_principal() -> Principal:
    """The principal that the running code acts for, also inside units of work."""
    return _current.get()


def act_as(principal: Principal) -> "Token[Principal]":
    """Act for `principal` until `act_as_before` gets the result. Costs a tenth of `acting_as`."""
    return _current.set(principal)


def act_as_before(acting: "Token[Principal]") -> None:
    """Act for the principal before the `act_as` that returned `acting`."""
    _current.reset(acting)


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Act for `principal` in the block."""
    acting = act_as(principal)
    try:
        yield
    finally:
        act_as_before(acting)
