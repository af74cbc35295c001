"""`strongroom import` and `strongroom export`: project documents."""

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, BinaryIO

import typer

from backend.cli.common import (
    AsJson,
    DataDir,
    counted,
    given_path,
    make_files_private,
    print_json,
    quiet_settings,
)
from backend.cli.exporting import TWICE_STANDARD_OUTPUT, ExportReport, export_stream, output
from backend.cli.failures import (
    FAILURE,
    CommandFailed,
    Interrupted,
    WrongUse,
    complain,
)
from backend.cli.importing import import_stream
from backend.cli.progress import progress_bar
from backend.cli.report import ImportReport
from database.errors import ProcessLockHeld
from database.sqlite.process_lock import in_use
from strongroom._commands.standard_files import can_be_read
from strongroom._commands.terminal import say


def import_documents(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE.jsonl", help="Project documents, one JSON object a line; - reads a pipe."
        ),
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Load project documents from a file.

    Each line is stored completely or not; a project that exists is updated.
    """
    settings = quiet_settings(data_dir)
    make_files_private()
    report = ImportReport()
    try:
        with (
            _input(file) as stream,
            progress_bar("importing", shown="share", total=_size(stream)) as bar,
        ):
            asyncio.run(import_stream(settings, stream, report, bar.advance))
    except ProcessLockHeld as error:
        raise CommandFailed(
            f"{in_use(error.pid, settings.data_dir)}: stop the server first, or send it each "
            f"document with POST /api/projects (PUT /api/projects/{{id}} for a project that "
            "exists)"
        ) from None
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted: {counted(report.stored, 'line')} stored; import the file again to go on"
        ) from None
    if as_json:
        print_json(report.as_json())
    else:
        say(*report.lines())
    if report.rejected:
        complain(
            f"{counted(report.rejected, 'line')} rejected: correct them and import the file again; "
            "the others are stored"
        )
        raise typer.Exit(FAILURE)


def export_documents(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE.jsonl", help="The file to write; - writes to a pipe."),
    ],
    reveal_secrets: Annotated[
        bool,
        typer.Option(
            "--reveal-secrets",
            help="Write secret values too, into a file that only its owner can read.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write all projects to a file.

    Deleted projects are left out. It works while the server runs.
    """
    if file == "-" and as_json:
        raise WrongUse(TWICE_STANDARD_OUTPUT)
    settings = quiet_settings(data_dir)
    report = ExportReport()
    with (
        output(file, force=force, private=reveal_secrets) as stream,
        progress_bar("exporting", shown="tally") as bar,
    ):
        asyncio.run(export_stream(settings, stream, report, bar.advance, reveal=reveal_secrets))
    if as_json:
        print_json(
            {
                "exported": report.exported,
                "secrets": report.secrets,
                "unreadable_secrets": report.unreadable_secrets,
                "unreadable": report.unreadable,
            }
        )
    elif file != "-":
        say(f"{counted(report.exported, 'project')} exported to {file}")
    if report.unreadable_secrets:
        complain(
            f"{counted(report.unreadable_secrets, 'secret')} can't be decrypted, starting with "
            f"{report.unreadable[0]}: their names are in secret_keys; restore the key or a "
            "backup, or set the values again"
        )
        raise typer.Exit(FAILURE)


@contextmanager
def _input(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        if not can_be_read(sys.stdin):
            raise CommandFailed("standard input is closed: name a file, or use a pipe")
        yield sys.stdin.buffer
        return
    path = given_path(file, "FILE.jsonl")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise CommandFailed(f"{file} can't be read ({error.strerror}): name another file") from None
    with stream:
        yield stream


def _size(stream: BinaryIO) -> int | None:
    """The size of the stream in bytes; `None` when it is not a file."""
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
