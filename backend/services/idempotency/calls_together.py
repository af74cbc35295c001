"""Calls of endpoints whose first use cases run as one, inside one unit of work."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

from backend.services.enclosing import Joining, RunsAsOne, joins_others
from backend.services.idempotency.answer_sealing import Answer
from backend.services.recording import concerned_projects
from database.engine import ALONE, Call, unit_of_work


class BegunCall:
    """A call that has come to its first use case, and has had no effect yet."""

    __slots__ = ("_context", "_coroutine", "answer", "concerned", "joining", "place")

    answer: Answer
    """The answer, once the call is finished."""

    def __init__(
        self,
        place: int,
        context: Context,
        coroutine: Coroutine[Any, Any, Answer],
        joining: Joining,
        concerned: set[int],
    ) -> None:
        self.place = place
        self.joining = joining
        self.concerned = concerned
        """The projects of what it changes."""
        self._context = context
        self._coroutine = coroutine

    @property
    def call(self) -> Call:
        """Its first use case."""
        return Call(self._context, self.joining.arguments)

    def finish(self, result: object) -> None:
        """Go on with the result of the use case, to the answer. Raises what the call raises, and
        `RuntimeError` if it wants to do more."""
        try:
            self._context.run(self._coroutine.send, result)
        except StopIteration as stop:
            self.answer = stop.value
        else:
            raise RuntimeError("a call that runs together with others has a second use case")

    def close(self) -> None:
        """Give the call up, unless it is finished."""
        self._context.run(self._coroutine.close)


def begin(place: int, context: Context, make: Callable[[], Awaitable[Answer]]) -> BegunCall | None:
    """The call of `make` in this context, up to its first use case; `None` if it fails before, or
    that use case always runs on its own."""
    concerned: set[int] = set()
    coroutine = _coroutine(make)
    try:
        joining = context.run(_begin, coroutine, unit_of_work.get(), concerned)
    except Exception:  # noqa: BLE001 - it fails again on its own, where its error belongs
        return None
    if not isinstance(joining, Joining) or joining.together is None:
        context.run(coroutine.close)
        return None
    return BegunCall(place, context, coroutine, joining, concerned)


def _begin(coroutine: Coroutine[Any, Any, Answer], unit: object, concerned: set[int]) -> object:
    unit_of_work.set(unit)
    joins_others.set(True)
    concerned_projects.set(concerned)
    return coroutine.send(None)


async def finish_together(begun: Sequence[BegunCall]) -> list[BegunCall]:
    """Run the use cases of the calls, those that are alike as one, and finish the calls. Returns
    those that are finished; the others have had no effect, and have to run on their own."""
    alike: dict[RunsAsOne, list[BegunCall]] = {}
    for one in begun:
        assert one.joining.together is not None  # noqa: S101 - `begin` has checked it
        alike.setdefault(one.joining.together, []).append(one)
    done: list[BegunCall] = []
    for together, some in alike.items():
        results = await together([one.call for one in some])
        for one, result in zip(some, results, strict=True):
            if result is not ALONE:
                one.finish(result)
                done.append(one)
    return done


async def _coroutine(make: Callable[[], Awaitable[Answer]]) -> Answer:
    return await make()
