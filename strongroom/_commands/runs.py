"""`strongroom runs`: agent runs, which can be watched."""

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

import strongroom
from strongroom._commands.options import (
    LARGEST_ID,
    AnyProject,
    AsJson,
    AsJsonLines,
    TokenFile,
    Url,
    connected,
    project_id,
)
from strongroom._commands.output import print_at_once, print_json, print_table

if TYPE_CHECKING:
    from strongroom.models import AgentRun

app = typer.Typer(rich_markup_mode=None)
ENDED = frozenset({"completed", "failed", "cancelled"})


@app.callback(invoke_without_command=True)
def _runs(context: typer.Context) -> None:
    """List agent runs, and watch one."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_runs(
    project: AnyProject = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only those with this status; repeat the option for more.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", metavar="N", min=1, max=LARGEST_ID, help="At most so many."),
    ] = 50,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    with connected(url, token_file) as client:
        # The service says what is no status: a newer one may have more.
        filters: dict[str, Any] = {"status": status or None, "limit": min(limit, 500)}
        if project is not None:
            filters["project_id"] = project_id(client, project)
        runs = list(islice(client.agent_runs.list(**filters), limit))
    if as_json:
        print_json({"agent_runs": [run.model_dump(mode="json") for run in runs]})
        return
    print_table(
        ("ID", "PROJECT", "NUMBER", "STATUS", "TARGET"),
        [
            (str(run.id), str(run.project_id), str(run.run_number), run.status, run.target_text)
            for run in runs
        ],
    )


@app.command("watch")
def watch_run(
    run_id: Annotated[
        int, typer.Argument(metavar="ID", min=1, max=LARGEST_ID, help="The id of the run.")
    ],
    exit_status: Annotated[
        bool,
        typer.Option("--exit-status", help="End with 1 unless the run was completed."),
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Show a run, and each change of it until it ends."""
    with (
        connected(url, token_file) as client,
        client.events.stream(resource=f"agent-runs/{run_id}") as stream,
    ):
        # The run is read once the stream tells all that changes it.
        stream.ready()
        run = client.agent_runs.get(run_id)
        _show(run, as_json=as_json)
        while run.status not in ENDED:
            # What is missing in a stream is in the run.
            with suppress(strongroom.StreamReset):
                next(stream)
            newer = client.agent_runs.get(run_id)
            if newer != run:
                _show(newer, as_json=as_json)
            run = newer
    if exit_status and run.status != "completed":
        raise typer.Exit(1)


def _show(run: "AgentRun", *, as_json: bool) -> None:
    if as_json:
        print_json(run.model_dump(mode="json"), at_once=True)
        return
    about = run.error_message or run.result or run.target_text
    print_at_once(f"{run.updated_at:%Y-%m-%d %H:%M:%S}Z {run.status}: {about}")
