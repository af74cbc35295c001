"""What an error reveals, for tests that it contains no secret."""

import traceback
from pathlib import Path

_TESTS = str(Path(__file__).resolve().parents[1])


def told_by(error: BaseException) -> str:
    """Everything that a handler, a log or a traceback with local variables could show of an error.

    The frames of tests are left out: they hold the secrets that the tests search for.
    """
    parts: list[str] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None:
            continue
        parts += [str(one), repr(one), repr(one.args), repr(vars(one))]
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if not frame.f_code.co_filename.startswith(_TESTS):
                parts.append(repr(frame.f_locals))
        waiting += [one.__cause__, one.__context__]
    return "\n".join(parts)
