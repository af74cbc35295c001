"""Strongroom with one route more: a query as slow as wanted, to run beside the others.

The route stands outside of the API and goes the way of every other read, to one of the readers.
All else is what `strongroom serve` starts; it is measured itself wherever the query isn't needed.
"""

import sqlite3
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backend.log import configure_logging
from backend.main import create_app
from bench.peers.serving import serve
from bench.peers.slow_query import SLOW_QUERY
from config.settings import load_settings


async def slow(request: Request) -> Response:
    """Run the query on a reader."""
    size = int(request.query_params["size"])

    def run(connection: sqlite3.Connection) -> int:
        return int(connection.execute(SLOW_QUERY, (size,)).fetchone()[0])

    counted = await request.app.state.runtime.manager.async_pool.run_read(run)
    return PlainTextResponse(str(counted))


def make(data_dir: Path) -> FastAPI:
    """The application."""
    settings = load_settings(data_dir=data_dir)
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings)
    app.router.routes.append(Route("/bench/slow", slow))
    return app


if __name__ == "__main__":
    serve(make)
