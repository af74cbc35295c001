"""Strongroom with an additional route for the slow query, to run during other loads.

The route is outside of the API, and runs on a reader like every other read. The rest is the same as
in `strongroom serve`, which is measured itself in all loads without the query.
"""

import argparse
import sqlite3
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backend.cli.listening import open_sockets
from backend.cli.server import run_server
from backend.http.state import state_of
from backend.main import create_app
from backend.observability.log import configure_logging
from bench.peers.slow_query import SLOW_QUERY
from config.loading import load_settings
from config.settings import Settings


async def slow(request: Request) -> Response:
    """Run the query on a reader."""
    size = int(request.query_params["size"])

    def run(connection: sqlite3.Connection) -> int:
        return int(connection.execute(SLOW_QUERY, (size,)).fetchone()[0])

    counted = await state_of(request.app).installation.manager.async_pool.run_read(run)
    return PlainTextResponse(str(counted))


def make(settings: Settings) -> FastAPI:
    """The application."""
    app = create_app(settings)
    app.router.routes.append(Route("/bench/slow", slow))
    return app


def serve(port: int, data_dir: Path, make: Callable[[Settings], FastAPI]) -> None:
    """Serve this application as `strongroom serve` does, until SIGTERM or SIGINT."""
    settings = load_settings(port=port, data_dir=data_dir)
    configure_logging(settings.log_level, settings.log_format)
    sockets = open_sockets(settings.host, settings.port)
    run_server(settings, sockets, lambda _: None, make=make)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    given = parser.parse_args()
    serve(given.port, given.data_dir, make)


if __name__ == "__main__":
    main()
