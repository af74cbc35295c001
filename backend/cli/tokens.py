"""`strongroom token`: API tokens."""

import asyncio
from typing import Annotated, Any

import typer

from backend.cli.common import (
    LARGEST_ID,
    AsJson,
    DataDir,
    as_json_line,
    print_json,
    print_table,
    quiet_settings,
)
from backend.cli.failures import WrongUse
from backend.cli.offline_writes import offline_service
from backend.errors import ValidationFailed
from backend.runtime import find_keyring, inspection
from backend.schemas.tokens import MAX_TOKEN_PROJECTS, TokenCreate, TokenCreated, TokenInfo
from backend.services.database_service import validated
from config.settings import Settings
from models import Scope
from strongroom._commands.terminal import hand_out, say

PAGE = 500
_A_SCOPE = f"must be one or more of {', '.join(Scope)}"
_A_NUMBER = "must be a number, or several separated by commas"

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _token(context: typer.Context) -> None:
    """Create, list and revoke API tokens."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what uses the token.")],
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What the token may do; repeat --scope or separate scopes with commas: "
            f"{', '.join(Scope)}.",
            autocompletion=lambda: [scope.value for scope in Scope],
        ),
    ],
    projects: Annotated[
        list[str] | None,
        typer.Option(
            "--project",
            metavar="ID",
            help="A project that the token is limited to; repeat the option or use commas for "
            "more. Without it, the token can use all projects.",
            show_default=False,
        ),
    ] = None,
    expires_in: Annotated[
        str | None,
        typer.Option(
            "--expires-in",
            metavar="DURATION",
            help="How long the token is valid: 90d, 12h, 30m.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a token and print it, once and with nothing else."""
    settings = quiet_settings(data_dir)
    try:
        request = validated(
            TokenCreate,
            {
                "name": name,
                "scopes": _parts(scopes, f"--scope: {_A_SCOPE}"),
                "project_ids": _ids(projects) if projects else None,
                "expires_in": expires_in,
            },
        )
        asyncio.run(_create(settings, request, as_json=as_json))
    except ValidationFailed as error:
        raise WrongUse(_first(error)) from None


@app.command("list")
def list_tokens(
    revoked: Annotated[bool, typer.Option("--revoked", help="Show revoked tokens too.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the tokens, newest first, without their secret part.

    It works while the server runs; last uses may be up to a minute old.
    """
    tokens = asyncio.run(_list(quiet_settings(data_dir), revoked=revoked))
    if as_json:
        print_json({"tokens": [token.model_dump(mode="json") for token in tokens]})
        return
    print_table(
        ("id", "name", "scopes", "projects", "created", "expires", "last used", "revoked"),
        [_row(token) for token in tokens],
    )


@app.command()
def revoke(
    token_id: Annotated[
        int, typer.Argument(metavar="ID", min=1, max=LARGEST_ID, help="The token's id.")
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a token permanently."""
    token = asyncio.run(_revoke(quiet_settings(data_dir), token_id))
    if as_json:
        print_json(token.model_dump(mode="json"))
    else:
        say(f"token {token_id} is revoked")


async def _create(settings: Settings, request: TokenCreate, *, as_json: bool) -> None:
    def show(created: TokenCreated) -> None:
        hand_out(as_json_line(created.model_dump(mode="json")) if as_json else created.token)

    async with offline_service(settings, "POST /api/tokens") as service:
        await service.tokens.hand_out(request, show)


async def _revoke(settings: Settings, token_id: int) -> TokenInfo:
    async with offline_service(settings, f"DELETE /api/tokens/{token_id}") as service:
        await service.tokens.revoke(token_id)
        return await service.tokens.get(token_id)


async def _list(settings: Settings, *, revoked: bool) -> list[TokenInfo]:
    tokens: list[TokenInfo] = []
    cursor: str | None = None
    async with inspection(settings, find_keyring(settings), check=False) as opened:
        while True:
            page = await opened.service.tokens.page(revoked=revoked, limit=PAGE, cursor=cursor)
            tokens += page.tokens
            cursor = page.next_cursor
            if cursor is None:
                return tokens


def _row(token: TokenInfo) -> tuple[str, ...]:
    projects = token.project_ids
    return (
        str(token.id),
        token.name,
        " ".join(token.scopes),
        "all" if projects is None else " ".join(map(str, projects)),
        token.created_at,
        token.expires_at or "never",
        token.last_used_at or "never",
        token.revoked_at or "no",
    )


def _parts(given: list[str], must: str) -> list[str]:
    """The values between commas, in their order and without repetitions. Raises `WrongUse` for an
    argument without a value; the message is `must`, which says what a value must be."""
    if not all(text.strip(" \t,") for text in given):
        raise WrongUse(must)
    parts = (part.strip() for text in given for part in text.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def _ids(given: list[str]) -> list[int]:
    parts = _parts(given, f"--project: {_A_NUMBER}")
    if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        raise WrongUse(f"--project: {_A_NUMBER}")
    return [int(part) for part in parts]


_MUST: dict[tuple[str, str | None], str] = {
    **dict.fromkeys(
        (("name", "string_too_short"), ("name", "string_too_long"), ("name", "string_unicode")),
        "must be text of 1 to 255 characters",
    ),
    ("scopes", None): _A_SCOPE,
    ("project_ids", "too_long"): f"must be at most {MAX_TOKEN_PROJECTS} projects",
    ("project_ids", "greater_than_equal"): _A_NUMBER,
    ("project_ids", "less_than_equal"): _A_NUMBER,
}
"""Messages in the words of the command; other errors have the same message as over HTTP."""
_OPTIONS = {"name": "NAME", "scopes": "--scope", "project_ids": "--project"}


def _first(error: ValidationFailed) -> str:
    """The first error, with the field named as in the command."""
    first: dict[str, Any] = error.extra["errors"][0]
    field = str(first["pointer"]).split("/")[1]
    message = _MUST.get((field, first["code"]), _MUST.get((field, None), first["message"]))
    return f"{_OPTIONS.get(field, '--' + field.replace('_', '-'))}: {message}"
