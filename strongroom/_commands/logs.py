"""`strongroom logs`: logs as they are stored."""

import json
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

import strongroom
from strongroom._commands.failures import complain
from strongroom._commands.options import (
    LARGEST_ID,
    AnyProject,
    AsJsonLines,
    TokenFile,
    Url,
    connected,
    project_id,
)
from strongroom._commands.output import print_at_once, print_json

if TYPE_CHECKING:
    from strongroom.models import SystemLog

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _logs(context: typer.Context) -> None:
    """Follow the logs."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("tail")
def tail_logs(
    project: AnyProject = None,
    run: Annotated[
        int | None,
        typer.Option(
            "--run", metavar="ID", min=1, max=LARGEST_ID, help="Only those of this agent run."
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option("--level", metavar="LEVEL", help="Only this level and worse ones."),
    ] = None,
    component: Annotated[
        str | None, typer.Option("--component", metavar="NAME", help="Only this component.")
    ] = None,
    correlation_id: Annotated[
        str | None,
        typer.Option("--correlation-id", metavar="ID", help="Only those with this id."),
    ] = None,
    q: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Only those with this text.")
    ] = None,
    lines: Annotated[
        int,
        typer.Option("--lines", metavar="N", min=0, max=100_000, help="So many earlier ones."),
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Whether to wait for more.")
    ] = True,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Print the last logs, and those that follow, until Ctrl-C."""
    with connected(url, token_file) as client:
        filters: dict[str, Any] = {
            "project_id": None if project is None else project_id(client, project),
            "agent_run_id": run,
            "level": level,
            "component": component,
            "correlation_id": correlation_id,
            "q": q,
        }
        if not follow:
            _print_last(client, filters, lines, LARGEST_ID, as_json=as_json)
            return
        with client.logs.stream(**filters) as stream:
            # Up to here they are read from the list, and later ones from the stream.
            last = stream.ready()
            _print_last(client, filters, lines, last, as_json=as_json)
            _follow(stream, as_json=as_json)


def _print_last(
    client: "strongroom.Client", filters: dict[str, Any], lines: int, last: int, *, as_json: bool
) -> None:
    if not lines:
        return
    newest = client.logs.list(**filters, limit=min(lines + 50, 500))
    earlier = list(islice((log for log in newest if log.id <= last), lines))
    for log in reversed(earlier):
        _print(log, as_json=as_json)


def _follow(stream: Any, *, as_json: bool) -> None:
    while True:
        try:
            log = next(stream)
        except strongroom.StreamReset:
            complain("some logs are missing here: they were removed before they could be read")
            continue
        _print(log, as_json=as_json)


def _print(log: "SystemLog", *, as_json: bool) -> None:
    if as_json:
        print_json(log.model_dump(mode="json"), at_once=True)
        return
    parts = [f"{log.created_at:%Y-%m-%dT%H:%M:%S}.{log.created_at.microsecond // 1000:03}Z"]
    parts += [f"{log.level:<8}", *([log.component] if log.component else []), log.message]
    if log.context:
        parts.append(json.dumps(log.context, ensure_ascii=False))
    print_at_once(" ".join(parts))
