"""Runs uvicorn in this process, within the application's lifespan."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI

from backend.cli.all_connections import Connections
from backend.cli.connections import Connection, ConnectionLimits
from backend.cli.failures import ended_at_once
from backend.cli.garbage import tuned_garbage_collection
from backend.cli.process_limits import connections_that_fit
from backend.http.application import Application
from backend.http.state import state_of
from backend.main import create_app
from config.settings import Settings

GRACE_SECONDS = 5
"""How long running requests may take after a signal to end."""
ACCEPTED_AT_ONCE = 16
"""How many new connections are accepted in one turn of the event loop."""
CANCELLED_SECONDS = 1.0
"""How long requests may take to end after they were cancelled."""
KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep a connection, so that they send no request on a closing one."""


class Server(uvicorn.Server):
    """A uvicorn server that reports when it accepts connections, and limits them."""

    def __init__(
        self, app: FastAPI, on_started: Callable[[], None], connections: Connections
    ) -> None:
        self._app = app
        self._connections = connections
        state = state_of(app)
        state.streams.fit(connections.limit)
        state.waits.fit(connections.limit)
        state.metrics.connections = connections.seen
        connections.last_answers.cross_origin = state.cross_origin
        super().__init__(
            uvicorn.Config(
                app,
                # Not a class, but uvicorn only calls it to make a protocol.
                http=self._connections.make,  # type: ignore[arg-type]
                ws="none",
                # `_serve` runs the lifespan, so that its exceptions are raised and not only logged.
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections on `sockets`."""
        app = self.config.app
        if isinstance(app, Application):
            self._connections.application = app
        await super().startup(sockets=sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams and the waits, which would use up the time that requests have, and then
        the server."""
        state = state_of(self._app)
        state.streams.stop()
        state.waits.stop()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second. Returns whether the server must stop."""
        self._connections.look(cast("set[Connection]", self.server_state.connections))
        return await super().on_tick(counter)


def run_server(
    settings: Settings,
    sockets: list[socket.socket],
    announce: Callable[[Path | None], None],
    *,
    make: Callable[[Settings], FastAPI] = create_app,
) -> None:
    """Serve the application that `make` returns on the listening `sockets` until SIGTERM, SIGINT,
    SIGHUP or SIGQUIT, then close the sockets.

    `announce` is called once the server answers requests, with the path of the admin token if this
    start created it. Raises the errors of the application's lifespan.
    """
    with ended_at_once():
        app = make(settings)
    limits = ConnectionLimits(connections=connections_that_fit(settings.max_connections))
    server = Server(
        app, lambda: announce(state_of(app).installation.first_token), Connections(limits)
    )
    with ExitStack() as stack:
        for taken in sockets:
            stack.enter_context(taken)
        for number in _ending_signals():
            # Set before uvicorn sets the same handler, so that a signal during a long start is not
            # lost. When uvicorn is done, it raises the signals again for these handlers.
            stack.callback(signal.signal, number, signal.signal(number, server.handle_exit))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(app, server, sockets))


def _ending_signals() -> list[signal.Signals]:
    ending = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT]
    # Under nohup SIGHUP is ignored on purpose.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ending.append(signal.SIGHUP)
    return ending


def _more_of(sockets: list[socket.socket]) -> list[socket.socket]:
    """Duplicates of the sockets, so that uvloop accepts more connections in a turn of its loop.

    uvloop accepts one connection per socket and turn. Under load, turns are long, and a new client
    would wait for a whole turn for each client before it.
    """
    return [again.dup() for again in sockets for _ in range(ACCEPTED_AT_ONCE - 1)]


async def _serve(app: FastAPI, server: Server, sockets: list[socket.socket]) -> None:
    async with app.router.lifespan_context(app):
        with tuned_garbage_collection():
            await server.serve(sockets=[*sockets, *_more_of(sockets)])
        # Cancelled requests use the database until they have ended.
        if server.server_state.tasks:
            await asyncio.wait(set(server.server_state.tasks), timeout=CANCELLED_SECONDS)
