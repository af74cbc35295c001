"""Formats an exception for the log: frames and types, but never the values of variables."""

import traceback
from collections.abc import Iterator

FRAMES = 40
"""How many of the innermost frames are shown for each exception."""

_OURS = frozenset({"backend", "config", "database"})
"""Packages whose error messages never show input."""

_CAUSE = "The above exception was the direct cause of the following one:"
_CONTEXT = "During handling of the above exception, another one occurred:"


def format_exception(error: BaseException) -> str:
    """The exception with its causes and the members of its groups.

    The text omits local variables and notes. It also omits messages of exceptions that repeat
    their input, such as a value that could not be parsed or a missing key.
    """
    return "\n".join(_chain(error, set()))


def _chain(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before, link = error.__cause__, _CAUSE
    if before is None and not error.__suppress_context__:
        before, link = error.__context__, _CONTEXT
    if before is not None and id(before) not in seen:
        yield from _chain(before, seen)
        yield f"\n{link}\n"
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        yield "Traceback (most recent call last):"
        if len(frames) > FRAMES:
            yield f"  [{len(frames) - FRAMES} frames left out]"
        yield "".join(traceback.StackSummary.from_list(frames[-FRAMES:]).format()).rstrip("\n")
    yield _describe(error)
    if isinstance(error, BaseExceptionGroup):
        for number, member in enumerate(error.exceptions, start=1):
            if id(member) not in seen:
                yield f"  member {number} of {len(error.exceptions)}:"
                for text in _chain(member, seen):
                    yield "\n".join(f"  {line}" if line else "" for line in text.split("\n"))


def _describe(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    if _repeats_input(error):
        return name
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the log line must be written, whatever `__str__` does
        return name
    return f"{name}: {message}" if message else name


def _repeats_input(error: BaseException) -> bool:
    if type(error).__module__.partition(".")[0] in _OURS:
        return False
    # `errors` identifies the validation errors of pydantic and FastAPI without importing them.
    return isinstance(error, ValueError | LookupError) or hasattr(error, "errors")
