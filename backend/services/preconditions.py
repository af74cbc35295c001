"""What a request demands of the present version of the resource that it changes.

The demand comes with the request's context, as its principal does, and is looked at inside the unit
of work that makes the change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from backend.errors import VersionMismatch


class EntityTags(NamedTuple):
    """The entity tags that a header names, without their `W/`; or any tag."""

    strong: frozenset[str]
    weak: frozenset[str] = frozenset()
    is_any: bool = False

    def have_strongly(self, tag: str) -> bool:
        """Whether the tag is among them by strong comparison (RFC 9110, section 8.8.3.2)."""
        return self.is_any or tag in self.strong

    def have_weakly(self, tag: str) -> bool:
        """The same by weak comparison, which ignores `W/`, also in front of `tag`."""
        opaque = tag.removeprefix("W/")
        return self.is_any or opaque in self.strong or opaque in self.weak


class Preconditions(NamedTuple):
    """The headers `If-Match` and `If-None-Match`; `None` for one that was not sent."""

    if_match: EntityTags | None = None
    if_none_match: EntityTags | None = None

    def permit(self, tag: str | None) -> bool:
        """Whether the request may be carried out while the resource has this tag; `None` while it
        does not exist."""
        if self.if_match is not None and (tag is None or not self.if_match.have_strongly(tag)):
            return False
        return self.if_none_match is None or tag is None or not self.if_none_match.have_weakly(tag)


_current: ContextVar[Preconditions | None] = ContextVar("strongroom_preconditions", default=None)


def version_tag(version: int) -> str:
    """The entity tag of a resource with this version."""
    return f'"v{version}"'


@contextmanager
def demanding(preconditions: Preconditions) -> Iterator[None]:
    """Carry out the request of the block only under these preconditions."""
    token = _current.set(preconditions)
    try:
        yield
    finally:
        _current.reset(token)


def is_conditional() -> bool:
    """Whether the current request has preconditions, so that `matched` needs the version."""
    return _current.get() is not None


def matched(version: int | None) -> int | None:
    """The version that the change has to find, for `BaseRepository.change(expected=…)`: `version`,
    which the unit of work has just read; `None` if the request has no preconditions.

    Call it in the unit of work, when the resource is known to be visible and before anything that
    may raise a conflict. A `version` of `None` stands for a resource that does not exist yet.
    Raises `VersionMismatch` unless the preconditions permit the request.
    """
    preconditions = _current.get()
    if preconditions is None:
        return None
    tag = version_tag(version) if version is not None else None
    if not preconditions.permit(tag):
        raise VersionMismatch(tag)
    return version
