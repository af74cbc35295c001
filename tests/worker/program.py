"""A worker as a program: its handler bakes until a message says that it is done."""

import asyncio
import logging
import sys

from strongroom import AsyncClient, Run, Worker

_log = logging.getLogger("program")


async def bake(run: Run) -> str:
    """What the last message says."""
    _log.info("working on %d", run.id)
    try:
        async for message in run.messages(role="user"):
            return message.content
    except asyncio.CancelledError:
        _log.info("cancelled %d", run.id)
        raise
    raise AssertionError


async def main(lease_seconds: int) -> None:
    """Work until a signal."""
    async with AsyncClient() as client:
        worker = Worker(client, bake, worker="program", concurrency=2, lease_seconds=lease_seconds)
        await worker.run()
    _log.info("ended")


if __name__ == "__main__":
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
    asyncio.run(main(int(sys.argv[1])))
