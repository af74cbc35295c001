"""Units of work that return secret values."""

import functools
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar

from backend.services.base import UseCases, unit_of_work
from database.engine import in_unit_of_work

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=UseCases)
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]

_revealing: ContextVar[bool] = ContextVar("strongroom_revealing", default=False)


def reveals(
    method: "Method[S, P, T]",
) -> "Method[S, P, T]":
    """Run the method as a unit of work that may record reveals. Its result leaves only when the
    head that covers them is kept outside of the database; otherwise it raises `NotRecorded`.

    Inside another unit it raises `RuntimeError`.
    """
    unit = unit_of_work(method)

    @functools.wraps(method)
    async def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if in_unit_of_work():
            # It would return before the commit.
            raise RuntimeError("a reveal is a unit of work of its own")
        token = _revealing.set(True)
        try:
            result = await unit(self, *args, **kwargs)
        finally:
            _revealing.reset(token)
        self.kit.audit.end.require_kept()
        return result

    return run


def require_revealing() -> None:
    """Raises `RuntimeError` outside of a method with `reveals`."""
    if not _revealing.get():
        raise RuntimeError("only a method with the decorator `reveals` may reveal a secret")
