"""`strongroom keys rotate`."""

import asyncio
from typing import Annotated

import typer

from backend.cli.common import AsJson, DataDir, counted, print_json, quiet_settings
from backend.cli.failures import FAILURE, Interrupted, complain
from backend.cli.offline_writes import offline_service
from backend.cli.progress import ProgressBar, progress_bar
from backend.schemas.keys import RotationProgress
from config.settings import Settings
from strongroom._commands.terminal import say


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
        with progress_bar("rotating") as bar:
            result = asyncio.run(_rotate(settings, bar, reencrypt=reencrypt))
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


async def _rotate(settings: Settings, bar: ProgressBar, *, reencrypt: bool) -> RotationProgress:
    def on_step(progress: RotationProgress) -> None:
        bar.show(progress.done + progress.failed, progress.total)

    async with offline_service(settings, "POST /api/keys/rotate") as service:
        # An unfinished rotation of the other kind is completed first.
        unfinished = await service.rotation.run(on_step=on_step)
        if unfinished is not None and unfinished.reencrypt == reencrypt:
            return unfinished
        begun = await service.rotation.begin(reencrypt=reencrypt)
        return await service.rotation.run(on_step=on_step) or begun
