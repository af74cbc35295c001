"""`strongroom run`: a command with a project's secrets in its environment."""

import os
import re
from typing import Annotated

import typer

import strongroom
from strongroom._commands.child import NotRun, run_to_end
from strongroom._commands.failures import CommandFailed, complain
from strongroom._commands.options import (
    Only,
    Project,
    TokenFile,
    Url,
    access,
    keys_of,
    project_id,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def run(
    project: Project,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="The command, and its arguments.")
    ],
    only: Only = None,
    pass_token: Annotated[
        bool,
        typer.Option(
            "--pass-token", help="Hand on STRONGROOM_URL and STRONGROOM_TOKEN to the command."
        ),
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Run a command with the project's secrets in its environment.

    Nothing else gets them. Write -- in front of the command.

    The exit status is that of the command, 128 + n if signal n ended it, 127 if there is no such
    command, and 126 if it can't be executed.
    """
    keys = keys_of(only)
    where = access(url, token_file)
    with strongroom.Client(where.url, where.token) as client:
        values = client.secrets.reveal(project_id(client, project), keys)
    _check(values)
    environment = {**os.environ}
    environment.pop("STRONGROOM_TOKEN", None)
    if pass_token:
        environment |= {"STRONGROOM_URL": where.url, "STRONGROOM_TOKEN": where.token}
    try:
        status = run_to_end(command, {**environment, **values})
    except NotRun as error:
        complain(str(error))
        status = error.status
    raise typer.Exit(status)


def _check(values: "strongroom.SecretValues") -> None:
    """Raises `CommandFailed` for what can't be a variable."""
    for key, value in values.items():
        if not _NAME.fullmatch(key):
            raise CommandFailed(f"{key} can't be the name of a variable: choose others with --only")
        if "\0" in value:
            raise CommandFailed(
                f"the value of {key} has a NUL character, which no variable can have: choose "
                "others with --only"
            )
