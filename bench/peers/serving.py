"""How the peers written in Python are served: as `strongroom serve` serves Strongroom."""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

KEEP_ALIVE_SECONDS = 75


def new_application(**options: Any) -> FastAPI:
    """A FastAPI application with nothing switched on that Strongroom has switched off."""
    return FastAPI(
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        **options,
    )


def serve(make: Callable[[Path], FastAPI]) -> None:
    """Serve what `make` returns for the data directory, until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    arguments = parser.parse_args()
    config = uvicorn.Config(
        make(arguments.data_dir),
        host="127.0.0.1",
        port=arguments.port,
        http="httptools",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve())
