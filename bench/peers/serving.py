"""Serving the peers written in Python, in the same way as `strongroom serve`."""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

KEEP_ALIVE_SECONDS = 75


def new_application(**options: Any) -> FastAPI:
    """A FastAPI application with the same features switched off as in Strongroom."""
    return FastAPI(
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        **options,
    )


def serve(make: Callable[[Path], ASGIApp], lifespan: Literal["on", "off"] = "on") -> None:
    """Serve the application that `make` returns for the data directory, until SIGTERM or
    SIGINT."""
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
        lifespan=lifespan,
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve())
