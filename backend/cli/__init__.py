"""The command `strongroom`: one module for each group of commands."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.main import get_command

from backend.cli import (
    audit,
    backups,
    demo,
    documents,
    keys,
    migrations,
    prune,
    rotation,
    serve,
    tokens,
    verify,
)
from backend.cli.failures import guarded
from backend.cli.process_limits import forbid_core_dumps
from strongroom._commands.app import add_to

__all__ = ["app", "main"]

app = typer.Typer(
    name="strongroom",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"strongroom {version('strongroom')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _strongroom(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Keep projects, their settings and their secrets, encrypted, in one SQLite file."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command()(serve.serve)
app.command()(migrations.migrate)
app.command()(demo.demo)
app.command("import")(documents.import_documents)
app.command("export")(documents.export_documents)
app.add_typer(tokens.app, name="token")
keys.app.command()(rotation.rotate)
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.command()(backups.backup)
app.command()(backups.restore)
app.command()(prune.prune)
app.command()(verify.verify)
add_to(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments`, by default those of this process. Returns the exit status.

    The status is 0 for success, 1 for a failure, 2 for wrong use, and 130 after an interruption.
    Every failure is one line on standard error.
    """
    # Nearly every command holds keys or values in memory.
    forbid_core_dumps(traceable=True)
    command = _command()
    return guarded(
        lambda: command.main(args=arguments, prog_name="strongroom", standalone_mode=False)
    )


@cache
def _command() -> Any:
    # Made once, also for a process that runs many command lines: it takes longer than most of them.
    return get_command(app)
