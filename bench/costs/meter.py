"""Meters of processor time: each nanosecond of a thread belongs to exactly one part.

A probe switches the part of its thread when a function begins and ends, so a part has the time of
its functions without that of the probed functions they call. What no probe covers stays with the
part around it: the parts of a thread always add up to the time that the kernel counted for it. The
clock is the thread's own: on the wall's, waits for the disk, for the interpreter lock and for the
processor would look like work.
"""

import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

LOOP = "event loop and sockets"
THREADS = "threads of the database"
"""The parts of threads outside of all probes."""
CALIBRATION = 20_000
"""Calls that are timed to find out what a probe costs."""
_MOST = 64
"""The most parts."""

_clock = time.thread_time_ns
_numbers: dict[str, int] = {LOOP: 0, THREADS: 1}


def _number(part: str) -> int:
    return _numbers.setdefault(part, len(_numbers))


@dataclass(slots=True)
class Meter:
    """The parts of one thread, by their numbers."""

    thread: threading.Thread
    part: int
    """The part that the time now belongs to."""
    since: int
    """The thread's time when that part began."""
    spent: list[int] = field(default_factory=lambda: [0] * _MOST)
    """Nanoseconds."""
    calls: list[int] = field(default_factory=lambda: [0] * _MOST * _MOST)
    """How often a probe of a function was entered, by the part around it and its own."""
    steps: list[int] = field(default_factory=lambda: [0] * _MOST * _MOST)
    """The same of a coroutine, for each of its steps."""


METERS: list[Meter] = []
"""The meters of all threads that have entered a probe."""


class _Here(threading.local):
    def __init__(self) -> None:
        thread = threading.current_thread()
        base = LOOP if thread is threading.main_thread() else THREADS
        self.meter = Meter(thread, _number(base), _clock())
        METERS.append(self.meter)


_here = _Here()


def probed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    """The function, whose time belongs to `part`."""
    own = _number(part)

    # Written out here and in `_Steps`, because a call would double what a probe costs.
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        meter = _here.meter
        around, spent, now = meter.part, meter.spent, _clock()
        spent[around] += now - meter.since
        meter.since, meter.part = now, own
        try:
            return function(*args, **kwargs)
        finally:
            now = _clock()
            spent[own] += now - meter.since
            meter.since, meter.part = now, around
            meter.calls[around * _MOST + own] += 1

    return call


def probed_coroutine(
    function: Callable[..., Coroutine[Any, Any, Any]], part: str
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The coroutine function, whose steps belong to `part`, but not the waits between them."""
    own = _number(part)

    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await _Steps(function(*args, **kwargs), own)

    return call


class _Steps(Awaitable[Any]):
    __slots__ = ("_coroutine", "_own")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], own: int) -> None:
        self._coroutine, self._own = coroutine, own

    def __await__(self) -> Generator[Any, Any, Any]:
        own, step = self._own, self._coroutine.send
        value: Any = None
        while True:
            meter = _here.meter
            around, spent, now = meter.part, meter.spent, _clock()
            spent[around] += now - meter.since
            meter.since, meter.part = now, own
            try:
                waited = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                now = _clock()
                spent[own] += now - meter.since
                meter.since, meter.part = now, around
                meter.steps[around * _MOST + own] += 1
            try:
                value, step = (yield waited), self._coroutine.send
            except BaseException as thrown:  # noqa: BLE001 - the coroutine gets it
                value, step = thrown, self._coroutine.throw


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds that entering and leaving a probe adds."""

    inside: float
    """To its own part."""
    around: float
    """To the part around it."""


def snapshot() -> dict[str, Any]:
    """The time so far of all parts, of the probes, and of the whole process: nanoseconds."""
    spent: Counter[str] = Counter()
    entered: Counter[tuple[str, str, str]] = Counter()
    names = {number: name for name, number in _numbers.items()}
    for meter in METERS:
        if not meter.thread.is_alive() or meter.thread.ident is None:
            continue
        base = LOOP if meter.thread is threading.main_thread() else THREADS
        of_thread = time.clock_gettime_ns(time.pthread_getcpuclockid(meter.thread.ident))
        known = {
            names[number]: value
            for number, value in enumerate(meter.spent)
            if value and names[number] != base
        }
        spent.update(known)
        spent[base] += of_thread - sum(known.values())
        for kind, times in (("call", meter.calls), ("step", meter.steps)):
            for place, count in enumerate(times):
                if count:
                    entered[names[place // _MOST], names[place % _MOST], kind] += count
    return {
        "process": time.process_time_ns(),
        "spent": spent,
        "entered": [[*key, count] for key, count in entered.items()],
    }


def calibrate() -> dict[str, Cost]:
    """What a probe costs when nothing else runs, by its kind: `call` for a function, `step` for a
    coroutine."""
    return {
        "call": _cost(_calls(_nothing), _calls(probed(_nothing, "calibration"))),
        "step": _cost(
            _awaits(_nothing_awaited), _awaits(probed_coroutine(_nothing_awaited, "calibration"))
        ),
    }


def _nothing() -> None:
    """What probes of functions are measured with."""


async def _nothing_awaited() -> None:
    """What probes of coroutines are measured with."""


def _calls(function: Callable[[], None]) -> Callable[[], None]:
    def many() -> None:
        for _ in range(CALIBRATION):
            function()

    return many


def _awaits(function: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    async def many() -> None:
        for _ in range(CALIBRATION):
            await function()

    def to_the_end() -> None:
        # It never waits, so its first step is its last one.
        try:
            many().send(None)
        except StopIteration:
            return

    return to_the_end


def _cost(plain: Callable[[], None], with_probe: Callable[[], None]) -> Cost:
    """The least of some rounds, because other work on the machine only adds to them."""
    own, found = _number("calibration"), []
    for _ in range(9):
        began = _clock()
        plain()
        without = _clock() - began
        _here.meter.spent[own] = 0
        began = _clock()
        with_probe()
        more = _clock() - began - without
        inside = _here.meter.spent[own] - without
        found.append(Cost(inside / CALIBRATION, (more - inside) / CALIBRATION))
    _here.meter.spent[own] = 0
    return min(found, key=lambda cost: cost.inside + cost.around)
