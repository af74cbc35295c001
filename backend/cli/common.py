"""Options, settings and output that commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.failures import WrongUse
from backend.observability.log import configure_logging
from config.loading import load_settings
from config.settings import Settings
from config.values import can_be_path
from strongroom._commands.options import LARGEST_ID, AsJson
from strongroom._commands.output import as_json_line, print_json, print_table

__all__ = [
    "LARGEST_ID",
    "AsJson",
    "DataDir",
    "as_json_line",
    "counted",
    "given_path",
    "make_files_private",
    "print_json",
    "print_table",
    "quiet_settings",
]

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


def counted(number: int, thing: str, things: str | None = None) -> str:
    """The number with its noun, in the plural if necessary: `2 lines`."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"
