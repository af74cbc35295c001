"""The commands for a running service, as a program of their own and as a part of the whole one."""

from collections.abc import Sequence

import typer
from typer.main import get_command

from strongroom._commands import login, logs, projects, run, runs, secrets
from strongroom._commands.failures import guarded, tell

SETTINGS = {"help_option_names": ["-h", "--help"]}


def add_to(app: typer.Typer) -> None:
    """Add the commands to a program."""
    app.add_typer(secrets.app, name="secrets")
    # What follows the command's name are its own options.
    app.command(context_settings={**SETTINGS, "allow_interspersed_args": False})(run.run)
    app.add_typer(projects.app, name="projects")
    app.add_typer(runs.app, name="runs")
    app.add_typer(logs.app, name="logs")
    app.command()(login.login)
    app.command()(login.logout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of these commands with `arguments`, by default those of this process. Returns the
    exit status; every failure is one line on standard error."""
    app = typer.Typer(
        name="strongroom",
        context_settings=SETTINGS,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    add_to(app)
    command = get_command(app)
    return guarded(
        lambda: command.main(args=arguments, prog_name="strongroom", standalone_mode=False), tell
    )
