"""Options, settings and output that commands share."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from backend.cli.failures import WrongUse
from backend.cli.terminal import printable, printable_json
from backend.observability.log import configure_logging
from backend.standard_files import writes_utf8
from config.loading import load_settings
from config.settings import Settings
from config.values import can_be_path

DataDir = Annotated[
    # Not a Path, because an empty text would become the working directory.
    str | None,
    typer.Option(
        "--data-dir",
        metavar="DIRECTORY",
        help="The installation's directory, instead of STRONGROOM_DATA_DIR.",
        show_default=False,
    ),
]
LARGEST_ID = 2**63 - 1
"""The largest id that a row can have."""
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def quiet_settings(data_dir: str | None) -> Settings:
    """The settings of a command that only logs warnings, unless a log level is configured.

    Raises `SettingsError`.
    """
    settings = load_settings(data_dir=data_dir)
    asked_for = "log_level" in settings.model_fields_set
    configure_logging(settings.log_level if asked_for else "WARNING", settings.log_format)
    return settings


def given_path(text: str, name: str) -> Path:
    """The path in the argument called `name`. Raises `WrongUse` for an invalid path."""
    if not text.strip():
        raise WrongUse(f"{name} is empty: give the path of a file")
    if not can_be_path(text):
        raise WrongUse(f"{name} is too long, or has a NUL character: give the path of a file")
    return Path(text)


def make_files_private() -> None:
    """Let only the owner read the files that this process creates from now on."""
    os.umask(0o077)


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object on one line of standard output."""
    print(as_json_line(result))


def as_json_line(result: Mapping[str, Any]) -> str:
    """One JSON object on one line, without control characters for a terminal."""
    return printable_json(json.dumps(result, ensure_ascii=not writes_utf8(sys.stdout)))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output; for other programs, columns separated by tabs."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(row))
        return
    table = Table(*header, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    Console().print(table, markup=False, highlight=False)


def counted(number: int, thing: str, things: str | None = None) -> str:
    """The number with its noun, in the plural if necessary: `2 lines`."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"
