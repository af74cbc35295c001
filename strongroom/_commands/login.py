"""`strongroom login` and `strongroom logout`."""

import getpass
import os
import sys
import warnings
from typing import Annotated

import typer

import strongroom
from strongroom._commands import logins
from strongroom._commands.failures import WrongUse
from strongroom._commands.options import AsJson, TokenFile, Url, read_token
from strongroom._commands.output import print_json
from strongroom._commands.standard_files import can_be_read
from strongroom._commands.terminal import say

LoginUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The service, instead of STRONGROOM_URL.",
        show_default=False,
    ),
]


def login(url: LoginUrl = None, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Keep a token for a service.

    It is kept in the system's keyring, or in a file that only you can read. The token comes from
    --token-file, from standard input, or from a prompt that does not show it.
    """
    chosen = url or os.environ.get("STRONGROOM_URL") or ""
    if not chosen.strip():
        raise WrongUse("--url: give the URL of the service, or set STRONGROOM_URL")
    token = asked("Token: ") if token_file is None else read_token(token_file)
    token = token.strip()
    if not token:
        raise WrongUse("the token is empty: give it on standard input, or with --token-file")
    where = logins.Access(logins.normal(chosen), token)
    with strongroom.Client(where.url, where.token) as client:
        # A token that is not valid is not kept.
        who = client.tokens.me()
    kept = logins.keep(where)
    if as_json:
        print_json({"url": where.url, "name": who.name, "scopes": list(who.scopes), "kept": kept})
    else:
        place = "the system's keyring" if kept == "keyring" else str(logins.folder() / logins.FILE)
        say(f"Logged in to {where.url} as {who.name}; the token is in {place}")


def logout(url: Url = None, as_json: AsJson = False) -> None:
    """Forget the token of a service.

    Without a URL, that is the service of the last login. The token stays valid: revoke it with
    strongroom token revoke, or DELETE /api/tokens/{token_id}.
    """
    forgotten = logins.forget(url)
    if as_json:
        print_json({"url": forgotten})
    else:
        say("There was no login" if forgotten is None else f"Logged out of {forgotten}")


def asked(prompt: str) -> str:
    """A secret from a terminal, which does not show it, or all of standard input. Raises
    `WrongUse`."""
    if not can_be_read(sys.stdin):
        raise WrongUse("standard input is closed: write the value to it")
    if not sys.stdin.isatty():
        try:
            return sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError:
            raise WrongUse("standard input: must be text in UTF-8") from None
    with warnings.catch_warnings():
        # Without this, it would show what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except (EOFError, getpass.GetPassWarning):
            raise WrongUse("nothing was typed: give the value on standard input") from None
