"""`strongroom serve`: the service, in this process."""

import faulthandler
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from backend.cli.common import DataDir, make_files_private
from backend.cli.failures import CommandFailed, ended_at_once, tell
from backend.cli.garbage import without_garbage_collection
from backend.cli.listening import PortInUse, open_sockets, url_of
from backend.cli.never_waiting import never_waiting
from backend.cli.process_limits import forbid_core_dumps
from backend.observability.log import configure_logging, get_logger
from backend.runtime import DataDirectory
from config.loading import load_settings, retired_variables
from config.settings import Settings
from database.sqlite.process_lock import ProcessLock, in_use

logger = get_logger("strongroom.start")


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            help="The address to listen on, instead of STRONGROOM_HOST.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="The port to listen on, instead of STRONGROOM_PORT; 0 takes a free port.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    environment: Annotated[
        str | None,
        typer.Option(
            "--environment",
            help="development, testing or production, instead of STRONGROOM_ENVIRONMENT.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the service until SIGTERM or SIGINT."""
    given = {"host": host, "port": port, "data_dir": data_dir, "environment": environment}
    with never_waiting():
        try:
            _serve(given)
        except Exception as error:  # noqa: BLE001 - its message must not wait either
            raise typer.Exit(tell(error)) from None


def _serve(given: Mapping[str, str | int | None]) -> None:
    with ended_at_once():
        settings = load_settings(dotenv=True, **given)
        configure_logging(settings.log_level, settings.log_format)
        if retired := retired_variables(dotenv=True):
            logger.warning("settings have no effect any more: remove them", settings=retired)
        make_files_private()
        if settings.is_production:
            forbid_core_dumps(traceable=False)
        sockets = _open_sockets(settings)
        url = url_of(settings.host, sockets)
        # The web framework takes longer to import than all other commands take to run.
        with without_garbage_collection():
            from backend.cli.server import run_server  # noqa: PLC0415

    # Otherwise a signal that Python can't handle would end the process silently, such as SIGBUS
    # after the log's index was truncated.
    faulthandler.enable(file=2, all_threads=False)
    run_server(settings, sockets, lambda first_token: _announce(url, first_token))


def _open_sockets(settings: Settings) -> list[socket.socket]:
    try:
        return open_sockets(settings.host, settings.port)
    except PortInUse:
        holder = ProcessLock(DataDirectory(settings.data_dir).database).holder()
        if holder is None:
            raise
        # The user more likely wants the server that already runs than a second one elsewhere.
        raise CommandFailed(
            f"{in_use(holder, settings.data_dir)}, and port {settings.port} is in use: stop it "
            "first, or choose another --data-dir and --port"
        ) from None


def _announce(url: str, first_token: Path | None) -> None:
    """Print the service's address, and after the first start how to call it."""
    _say("Strongroom is running at", url)
    if first_token is not None:
        path = first_token.absolute()
        _say("The admin token, which only you can read, is in", str(path))
        _say("Try it in another terminal:")
        # Quotes inside $(...) are independent of those around it, so the path may have any
        # character.
        header = f'"Authorization: Bearer $(cat {shlex.quote(str(path))})"'
        _say(f"curl -sS -H {header} {url}/api/projects")
    sys.stdout.flush()


def _say(text: str, value: str = "") -> None:
    """Print a line, with its last part in bold on a terminal."""
    if sys.stdout.isatty():
        console = Console(highlight=False, markup=False, soft_wrap=True)
        console.print(Text(f"{text} " if value else text).append(value, style="bold"))
    else:
        print(text, value, sep=" " if value else "")
