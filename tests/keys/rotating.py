"""A process that rotates keys and prints a line for each step, so that a test can kill it there."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from backend.schemas.keys import RotationProgress
from tests.keys.support import started


def _say(progress: RotationProgress) -> None:
    sys.stdout.write(f"{progress.done} of {progress.total}\n")
    sys.stdout.flush()


async def _main(directory: Path, keys: list[str]) -> None:
    runtime = await started(directory, *keys)
    await runtime.service.rotation.begin(reencrypt=True)
    await runtime.service.rotation.run(on_step=_say)
    await runtime.stop()


def rotate(arguments: Sequence[str]) -> int:
    """Rotate the keys of the data directory; the other arguments are the keys."""
    directory, *keys = arguments
    asyncio.run(_main(Path(directory), keys))
    return 0
