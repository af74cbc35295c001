"""`strongroom projects`: projects, and what belongs to one."""

from typing import Annotated, Any

import typer

from strongroom._commands.failures import WrongUse
from strongroom._commands.options import (
    AnyProject,
    AsJson,
    TokenFile,
    Url,
    connected,
    project_id,
)
from strongroom._commands.output import print_json, print_table
from strongroom._commands.terminal import say

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _projects(context: typer.Context) -> None:
    """List projects, and show one."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_projects(
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only those with this status; repeat the option for more.",
            show_default=False,
        ),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option("--owner", metavar="OWNER", help="Only those of this owner."),
    ] = None,
    q: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Only those with this text.")
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List projects, newest first."""
    with connected(url, token_file) as client:
        # The service says what is no status: a newer one may have more.
        filters: dict[str, Any] = {"status": status or None, "owner": owner, "q": q}
        projects = list(client.projects.list(**filters, limit=500))
    if as_json:
        print_json({"projects": [project.model_dump(mode="json") for project in projects]})
        return
    print_table(
        ("ID", "REPOSITORY", "NAME", "STATUS"),
        [
            (
                str(project.id),
                f"{project.github_owner}/{project.github_repo}",
                project.name,
                project.status,
            )
            for project in projects
        ],
    )


@app.command("show")
def show_project(
    which: Annotated[
        str | None,
        typer.Argument(metavar="OWNER/REPO", help="The project: OWNER/REPO, or its id."),
    ] = None,
    project: AnyProject = None,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a project, its configuration and the keys of its secrets."""
    chosen, name = (which, "OWNER/REPO") if project is None else (project, "--project")
    if chosen is None or (which is not None and project is not None):
        raise WrongUse("OWNER/REPO: give one project, as OWNER/REPO or by its id")
    with connected(url, token_file) as client:
        found = client.projects.full(project_id(client, chosen, name))
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"secrets": {"__all__": {"value"}}}))
        return
    own = found.project
    say(
        f"id: {own.id}",
        f"repository: {own.github_owner}/{own.github_repo}",
        f"name: {own.name}",
        f"status: {own.status}",
        f"webhook URL: {own.webhook_url or 'none'}",
        f"merges by itself: {'yes' if own.auto_merge_enabled else 'no'}",
        f"confirms plans by itself: {'yes' if own.auto_confirm_plans else 'no'}",
        f"branch: {found.settings.branch_name}",
        f"planning statement: {found.settings.planning_statement or 'none'}",
        f"repository rules: {found.settings.repository_rules or 'none'}",
        f"setup commands: {found.settings.setup_commands or 'none'}",
        f"secrets: {', '.join(secret.key for secret in found.secrets) or 'none'}"
        + (
            f" (and {found.secret_count - len(found.secrets)} more)"
            if found.secret_count > len(found.secrets)
            else ""
        ),
    )
