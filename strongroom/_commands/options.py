"""The options that commands share, and the client that they ask for."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import strongroom
from strongroom._commands import logins
from strongroom._commands.failures import WrongUse

if TYPE_CHECKING:
    from strongroom import Client

LARGEST_ID = 2**63 - 1
"""The largest id that a row can have."""
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
AsJsonLines = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on a line for each.")
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The service, instead of STRONGROOM_URL and strongroom login.",
        show_default=False,
    ),
]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="A file with the token, instead of STRONGROOM_TOKEN and strongroom login.",
        show_default=False,
    ),
]
Project = Annotated[
    str,
    typer.Option("--project", metavar="OWNER/REPO", help="The project: OWNER/REPO, or its id."),
]
AnyProject = Annotated[
    str | None,
    typer.Option(
        "--project",
        metavar="OWNER/REPO",
        help="Only this project: OWNER/REPO, or its id.",
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KEY",
        help="Only this secret; repeat the option or use commas for more.",
        show_default=False,
    ),
]
_MUST = "must be OWNER/REPO or an id"


def connected(url: str | None, token_file: str | None) -> "Client":
    """A client of the service that the options, the environment or a login name, in this order.
    Raises `WrongUse` if none does."""
    where = access(url, token_file)
    return strongroom.Client(where.url, where.token)


def access(url: str | None, token_file: str | None) -> logins.Access:
    """The URL and the token that the options, the environment or a login name, in this order.
    Raises `WrongUse` if there is none."""
    if url is not None and not url.strip():
        raise WrongUse("--url: must be a URL such as https://strongroom.example.org")
    token = None if token_file is None else read_token(token_file)
    return logins.access(url, token)


def read_token(name: str) -> str:
    """The token in a file. Raises `WrongUse` for what can't be one."""
    if not name.strip() or "\0" in name:
        raise WrongUse("--token-file: must be the path of a file")
    try:
        token = Path(name).read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        token = ""
    except OSError as error:
        raise WrongUse(f"--token-file: {error.strerror or 'it is not a path'}") from None
    if not re.fullmatch(r"[!-~]{1,4096}", token):
        raise WrongUse("--token-file: must be a file with a token, and nothing else")
    return token


def project_id(client: "Client", project: str, name: str = "--project") -> int:
    """The id of the project that an option names. Raises `WrongUse`, `ProjectNotFound`."""
    if re.fullmatch(r"[0-9]{1,19}", project):
        number = int(project)
        if not 0 < number <= LARGEST_ID:
            raise WrongUse(f"{name}: {_MUST}")
        return number
    owner, slash, repo = project.partition("/")
    if not owner or not repo or not slash or "/" in repo or not project.isprintable():
        raise WrongUse(f"{name}: {_MUST}")
    return client.projects.get_by_repo(owner, repo).id


def keys_of(only: list[str] | None) -> list[str] | None:
    """The keys that `--only` names; None without it. Raises `WrongUse`."""
    if only is None:
        return None
    keys = [key.strip() for text in only for key in text.split(",")]
    if not all(keys):
        raise WrongUse("--only: must be the key of a secret, or several separated by commas")
    return list(dict.fromkeys(keys))
