"""How a coroutine waits. The synchronous client has a module of its own for this."""

import asyncio
from contextlib import AbstractAsyncContextManager


async def sleep(seconds: float) -> None:
    """Wait for so many seconds."""
    await asyncio.sleep(seconds)


def limit(seconds: float | None) -> AbstractAsyncContextManager[object]:
    """Raises TimeoutError in its block after so many seconds; never if there are None."""
    return asyncio.timeout(seconds)
