"""`strongroom secrets`: the secrets of a project."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import strongroom
from strongroom._commands.failures import CommandFailed, WrongUse
from strongroom._commands.login import asked
from strongroom._commands.options import (
    AsJson,
    Only,
    Project,
    TokenFile,
    Url,
    connected,
    keys_of,
    project_id,
)
from strongroom._commands.output import print_json, print_table
from strongroom._commands.terminal import hand_out, printable, say

app = typer.Typer(rich_markup_mode=None)
Key = Annotated[str, typer.Argument(metavar="KEY", help="The key of the secret.")]
FORMATS = ("dotenv", "docker")


@app.callback(invoke_without_command=True)
def _secrets(context: typer.Context) -> None:
    """Set, show, import and export the secrets of a project."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("set")
def set_secret(
    key: Key,
    project: Project,
    redact: Annotated[
        bool | None,
        typer.Option(
            "--redact/--no-redact",
            help="Whether the value is replaced where it stands in logs and results.",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep a line feed at the end of the value.")
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Set a secret to the value on standard input, or typed at a prompt that does not show it.

    A line feed at the end is left out, as shells do.
    """
    with connected(url, token_file) as client:
        found = project_id(client, project)
        value = asked("Value: ")
        if not exact:
            value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            raise WrongUse("the value is empty: give it on standard input")
        secret = client.secrets.put(
            found, key, value=value, redact=strongroom.UNSET if redact is None else redact
        )
    if as_json:
        print_json(secret.model_dump(mode="json", exclude={"value"}))
    else:
        say(f"Set {secret.key}, version {secret.version}")


@app.command("get")
def get_secret(
    key: Key,
    project: Project,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the value of a secret, and a line feed. Its reveal is recorded."""
    with connected(url, token_file) as client:
        secret = client.secrets.value(project_id(client, project), key)
    if as_json:
        print_json({"key": secret.key, "value": secret.value, "version": secret.version})
    else:
        _print_value(secret.value)


@app.command("list")
def list_secrets(
    project: Project, url: Url = None, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """List the secrets without their values, newest first."""
    with connected(url, token_file) as client:
        secrets = list(client.secrets.list(project_id(client, project), limit=500))
    if as_json:
        shown = [secret.model_dump(mode="json", exclude={"value"}) for secret in secrets]
        print_json({"secrets": shown})
        return
    print_table(
        ("KEY", "VERSION", "STATUS", "REDACT", "UPDATED"),
        [
            (
                secret.key,
                str(secret.version),
                secret.status,
                "yes" if secret.redact else "no",
                f"{secret.updated_at:%Y-%m-%d %H:%M:%S}Z",
            )
            for secret in secrets
        ],
    )


@app.command("import")
def import_secrets(
    file: Annotated[str, typer.Argument(metavar="FILE.env", help="A dotenv file; - for a pipe.")],
    project: Project,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be changed.")
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Set the secrets of a dotenv file, all of them or none, and leave the others."""
    with connected(url, token_file) as client:
        text = _dotenv(file)
        try:
            done = client.secrets.import_dotenv(
                project_id(client, project), text, dry_run=dry_run or None
            )
        except strongroom.ValidationFailed as error:
            if not error.rejected:
                raise
            raise CommandFailed(_refused(error.rejected)) from None
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        for name, keys in (
            ("created", done.created),
            ("updated", done.updated),
            ("unchanged", done.unchanged),
        ):
            if keys:
                say(f"{name}: {', '.join(keys)}")
    if done.rejected:
        raise CommandFailed(_refused([line.model_dump() for line in done.rejected]))


@app.command("export")
def export_secrets(
    project: Project,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="dotenv, for python-dotenv and sh, or docker, for docker run --env-file.",
            autocompletion=lambda: list(FORMATS),
        ),
    ] = "dotenv",
    only: Only = None,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the values of all secrets of one moment, as a file. Their reveals are recorded."""
    if form not in FORMATS:
        raise WrongUse("--format: must be dotenv or docker")
    keys = keys_of(only)
    with connected(url, token_file) as client:
        found = project_id(client, project)
        if as_json:
            values = client.secrets.reveal(found, keys)
            print_json({"secrets": dict(values), "versions": values.versions})
        else:
            text = client.secrets.reveal_text(
                found, keys, form="docker" if form == "docker" else "dotenv"
            )
            _print_value(text.removesuffix("\n"))


def _print_value(value: str) -> None:
    """The value as it is, or for a terminal without what would control it."""
    if sys.stdout.isatty():
        value = "\n".join(printable(line) for line in value.split("\n"))
    hand_out(value)


def _dotenv(name: str) -> str:
    if not name.strip() or "\0" in name:
        raise WrongUse("FILE.env: must be the path of a file, or - for a pipe")
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise CommandFailed(f"{name}: must be text in UTF-8") from None
    except OSError as error:
        raise CommandFailed(f"{name}: {error.strerror}") from None


def _refused(rejected: Sequence[Mapping[str, Any]]) -> str:
    """Names the lines that can't be imported, without what they hold."""
    shown = "; ".join(f"line {line['line']}: {line['message']}" for line in rejected[:5])
    more = f"; and {len(rejected) - 5} more" if len(rejected) > 5 else ""
    return f"nothing was imported: {shown}{more}"
