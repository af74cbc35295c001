"""The composition root: makes an application from settings."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from backend.dependencies import install_error_handlers
from backend.http.application import Application
from backend.http.cross_origin import CrossOrigin
from backend.http.docs_pages import add_docs
from backend.http.edge import Edge
from backend.http.fair_queue import FairQueue
from backend.http.kept_answers import KeptAnswers
from backend.http.metrics import RequestMetrics
from backend.http.missing_paths import MissingPaths
from backend.http.openapi.document import describe
from backend.http.own_origin import OwnOrigin
from backend.http.rate_limits import RequestLimits
from backend.http.route_policy import Queue
from backend.http.sessions import SessionCookies
from backend.http.state import AppState, state_of
from backend.http.streams.streams import Streams
from backend.http.waiting.waits import Waits
from backend.observability.log import get_logger
from backend.observability.log_output import drain_outputs
from backend.routes import POLICIES, ROUTERS, TAGS
from backend.runtime import Runtime, connection_config
from config.loading import load_settings
from config.settings import Settings
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError, FilesReplaced

if TYPE_CHECKING:
    from backend.testing.testing import ForTests

logger = get_logger("strongroom")


def _new_state(settings: Settings, *, keeps: bool) -> AppState:
    own_origin = OwnOrigin(settings.public_url, settings.cors_origins)
    streams = Streams(settings.max_streams)
    slots, queue_seconds = settings.max_concurrent_requests, settings.db_queue_timeout_seconds
    return AppState(
        settings=settings,
        auth_required=settings.auth == "token",
        max_body_bytes=settings.max_body_bytes,
        has_open_metrics=settings.is_loopback and not settings.is_production,
        metrics=RequestMetrics(),
        own_origin=own_origin,
        cookies=SessionCookies(settings.public_url, own_origin),
        cross_origin=CrossOrigin(settings.cors_origins) if settings.cors_origins else None,
        limits=RequestLimits(
            token_per_minute=settings.token_rate_per_minute,
            failed_per_minute=settings.failed_attempts_per_minute,
        ),
        kept=KeptAnswers(POLICIES if keeps else {}),
        streams=streams,
        waits=Waits(lambda: len(streams)),
        # Only other clients would notice how long a larger batch takes.
        queues={
            Queue.READING: FairQueue(slots, queue_seconds, alone=2 * slots),
            Queue.WRITING: FairQueue(slots, queue_seconds, alone=2 * slots),
            # Files are read on a thread, where a second one would only make the first slower.
            Queue.FILES: FairQueue(1, queue_seconds),
        },
    )


def _renew(settings: Settings, state: AppState) -> None:
    """Replace what the application knows of its clients, when its store is emptied."""
    fresh = _new_state(settings, keeps=False)
    state.limits, state.queues, state.inbound = fresh.limits, fresh.queues, fresh.inbound
    state.streams = streams = state.streams.successor()
    state.waits = state.waits.successor(lambda: len(streams))
    state.metrics.clear()


def _testing(settings: Settings) -> "ForTests | None":
    """The calls for tests; `None` for an ordinary server."""
    if settings.environment != "testing" or not settings.is_loopback:
        return None
    # An ordinary server does not have the code.
    from backend.testing.testing import ForTests  # noqa: PLC0415

    return ForTests(partial(_renew, settings))


def create_app(settings: Settings | None = None, *, direct: bool = True) -> FastAPI:
    """The application. Its lifespan migrates, opens the pool, and closes everything at the end.

    Without `settings` they are read from the environment, which raises `SettingsError` for a wrong
    one. Without `direct`, FastAPI's own handler calls every endpoint, and no answer is kept: the
    answers are the same, but slower. The lifespan raises `StartRefused` and `DatabaseError`.
    """
    settings = settings or load_settings()
    state = _new_state(settings, keeps=direct)
    edge = partial(
        Edge,
        max_body_bytes=settings.max_body_bytes,
        policies=POLICIES,
        metrics=state.metrics,
        cross_origin=state.cross_origin,
        trusted_hosts=settings.trusted_hosts,
        trusted_proxies=settings.trusted_proxies,
        own_origin=None if state.auth_required else state.own_origin,
        state=state,
    )
    testing = _testing(settings)
    routes = [route for router in ROUTERS for route in router.guarded_routes]
    if not direct:
        routes = [route.through_fastapi() for route in routes]
    app = Application(
        edge,
        routes,
        title="Strongroom",
        version="0.1.0",
        lifespan=partial(_lifespan, testing=testing),
        redirect_slashes=False,
        openapi_url=None,
        # Telemetry records contain exception messages and request values.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    # Replaces Starlette's state, which accepts any attribute.
    app.state = state  # type: ignore[assignment]
    calls = testing.add_to(app) if testing is not None else ()
    pages = add_docs(app) if settings.docs == "on" else ()
    install_error_handlers(app, MissingPaths([*POLICIES, *calls], pages))
    describe(app, POLICIES, TAGS)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, testing: "ForTests | None") -> AsyncIterator[None]:
    state = state_of(app)
    loop = asyncio.get_running_loop()
    poisoned: asyncio.Future[DatabaseError] = loop.create_future()
    manager = DatabaseManager(
        connection_config(state.settings),
        on_poison=poisoned.set_result,
        faults=testing.faults if testing is not None else None,
    )
    if testing is not None:
        testing.look(state.settings)
    start = Runtime.start if testing is None else partial(Runtime.start, clock=testing.clock)
    runtime = await start(state.settings, manager=manager)
    if testing is not None:
        testing.begin(state.settings)
    poisoned.add_done_callback(_end_process)
    state.runtime = runtime
    state.service = runtime.service
    state.kept.start(runtime.service.kit.shown_versions)
    state.streams.start()
    runtime.start_background_work()
    if not state.auth_required:
        logger.warning(
            "authentication is off: anyone who can reach this address is an administrator"
        )
    try:
        yield
    finally:
        poisoned.remove_done_callback(_end_process)
        if testing is not None:
            await testing.end()
        state.kept.stop()
        state.streams.stop()
        state.waits.stop()
        # Not the one that has begun, if the store was emptied.
        await state.installation.stop()


REFUSING_SECONDS = 0.5
"""How long requests are answered with 503 after a file of the database was replaced."""


def _end_process(poisoned: "asyncio.Future[DatabaseError]") -> None:
    """End the process without closing the database. The next start reads what is on the disk."""
    if poisoned.cancelled():
        return
    error = poisoned.result()
    logger.critical("the database can't be written: ending", cause=str(error))
    if isinstance(error, FilesReplaced):
        # Closing the database would remove the log that is now at its path, which may be another
        # database's.
        poisoned.get_loop().call_later(REFUSING_SECONDS, _leave)
    else:
        _leave()


def _leave() -> None:
    drain_outputs()
    os._exit(1)


def __getattr__(name: str) -> Any:
    # `uvicorn backend.main:app` finds the application here. An import alone reads no settings.
    if name == "app":
        return create_app()
    raise AttributeError(name)
