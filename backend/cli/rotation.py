"""`strongroom keys rotate`."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.cli.common import AsJson, DataDir, counted, print_json, quiet_settings
from backend.cli.failures import FAILURE, Interrupted, complain
from backend.cli.offline_writes import offline_service
from backend.cli.terminal import say
from backend.schemas.keys import RotationProgress
from config.settings import Settings

OnStep = Callable[[RotationProgress], None]


def rotate(
    reencrypt: Annotated[
        bool,
        typer.Option(
            "--reencrypt", help="Give each project a new key, and encrypt its values again with it."
        ),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt every key under the first configured master key.

    An interrupted rotation goes on where it stopped.
    """
    settings = quiet_settings(data_dir)
    try:
        with _progress() as on_step:
            result = asyncio.run(_rotate(settings, on_step, reencrypt=reencrypt))
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted: run the same command again, or start the server, to go on"
        ) from None
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        say(f"{counted(result.done, 'key')} of {result.total} rotated")
    if result.failed:
        complain(
            f"{counted(result.failed, 'key')} can't be read, or protect values that can't be "
            "read: strongroom verify names them; set these values again, or restore a backup"
        )
        raise typer.Exit(FAILURE)


async def _rotate(settings: Settings, on_step: OnStep, *, reencrypt: bool) -> RotationProgress:
    async with offline_service(settings, "POST /api/keys/rotate") as service:
        # One of the other kind comes to its end first.
        unfinished = await service.rotation.run(on_step=on_step)
        if unfinished is not None and unfinished.reencrypt == reencrypt:
            return unfinished
        begun = await service.rotation.begin(reencrypt=reencrypt)
        return await service.rotation.run(on_step=on_step) or begun


@contextmanager
def _progress() -> Iterator[OnStep]:
    """Progress on standard error; nothing unless that is a terminal."""
    columns = (TextColumn("rotating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.disable = not sys.stderr.isatty()
    with bar:
        task = bar.add_task("", total=None)

        def show(progress: RotationProgress) -> None:
            completed = progress.done + progress.failed
            bar.update(task, total=progress.total, completed=completed)

        yield show
