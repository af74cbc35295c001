"""Tells the engine that the caller's reads may be slow."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_slow: ContextVar[bool] = ContextVar("strongroom_slow_reads", default=False)


def may_be_slow() -> bool:
    """Whether the caller is inside `reading_slowly`."""
    return _slow.get()


@contextmanager
def reading_slowly() -> Iterator[None]:
    """In this block, reads are done by readers of their own, so that no other read waits for
    them."""
    before = _slow.set(True)
    try:
        yield
    finally:
        _slow.reset(before)
