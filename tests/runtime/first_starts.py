"""First starts that are interrupted at each of their steps: a program that a test runs.

Its arguments are an empty directory and a number n: every n-th step is tried. Each start is a fork
that ends at once, as after a SIGKILL, at a use of a file in the data directory; the next start must
succeed. The program prints the number of steps.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from backend.runtime import Runtime
from config.settings import Settings

KILLED = 9


async def _start(directory: Path) -> None:
    settings = Settings(_env_file=None, data_dir=directory, db_readers=1)
    runtime = await Runtime.start(settings)
    await runtime.stop()


def _forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the exit status reports it
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _cut_short(directory: Path, step: int) -> None:
    left = step

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if any(isinstance(one, (str, Path)) and str(directory) in str(one) for one in arguments):
            left -= event.split(".", maxsplit=1)[0] in ("open", "os", "sqlite3", "fcntl")
            if left < 0:
                os._exit(KILLED)

    sys.addaudithook(count)
    asyncio.run(_start(directory))


def main(folder: Path, every: int) -> int:
    """The number of steps at which a first start was interrupted and the next one succeeded."""
    step = 0
    while True:
        directory = folder / f"data-{step}"
        status = _forked(lambda at=step, where=directory: _cut_short(where, at))  # type: ignore[misc]
        if status == 0:
            return step
        if status != KILLED:
            sys.exit(f"the start that was to be cut short at step {step} failed")
        if _forked(lambda where=directory: asyncio.run(_start(where))):  # type: ignore[misc]
            sys.exit(f"the start after one that was cut short at step {step} failed")
        # The key and the database come first; the migrations after them are alike.
        step += every if step < 30 else 4 * every


if __name__ == "__main__":
    sys.stdout.write(str(main(Path(sys.argv[1]), int(sys.argv[2]))))
