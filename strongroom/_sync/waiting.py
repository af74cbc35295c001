"""How a thread waits. The asynchronous client has a module of its own for this."""

import time
from contextlib import AbstractContextManager, nullcontext


def sleep(seconds: float) -> None:
    """Wait for so many seconds."""
    time.sleep(seconds)


def limit(seconds: float | None) -> AbstractContextManager[object]:  # noqa: ARG001
    """Nothing: a thread can't be interrupted. The time limits of sockets end what takes long."""
    return nullcontext()
