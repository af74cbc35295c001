"""`strongroom audit`: the record of every change."""

import asyncio
from typing import Annotated, BinaryIO

import typer

from backend.cli.common import LARGEST_ID, AsJson, DataDir, counted, print_json, quiet_settings
from backend.cli.exporting import TWICE_STANDARD_OUTPUT, output
from backend.cli.failures import WrongUse
from backend.runtime import find_keyring, inspection
from config.settings import Settings
from strongroom._commands.terminal import printable_json, say

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _audit(context: typer.Context) -> None:
    """Read the record of every change."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("export")
def export_audit(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE.jsonl", help="The file to write; - writes to a pipe."),
    ],
    after_id: Annotated[
        int,
        typer.Option("--after-id", min=0, max=LARGEST_ID, help="Only entries after this one."),
    ] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write the audit to a file, one JSON object a line, oldest first.

    It works while the server runs.
    """
    if file == "-" and as_json:
        raise WrongUse(TWICE_STANDARD_OUTPUT)
    settings = quiet_settings(data_dir)
    with output(file, force=force, private=True) as stream:
        count = asyncio.run(_export(settings, stream, after_id))
    if as_json:
        print_json({"exported": count})
    elif file != "-":
        say(f"{counted(count, 'row')} exported to {file}")


async def _export(settings: Settings, stream: BinaryIO, after_id: int) -> int:
    count = 0
    async with inspection(settings, find_keyring(settings), check=False) as opened:
        async for lines in opened.service.audit.export(after_id=after_id):
            stream.write(printable_json(lines.decode()).encode())
            count += lines.count(b"\n")
    return count
