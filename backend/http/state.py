"""The typed state of an application, in `app.state`."""

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from backend.http.cross_origin import CrossOrigin
from backend.http.fair_queue import FairQueue
from backend.http.inbound_budget import InboundLimits
from backend.http.kept_answers import KeptAnswers
from backend.http.metrics import RequestMetrics
from backend.http.not_running import NotRunning
from backend.http.own_origin import OwnOrigin
from backend.http.rate_limits import RequestLimits
from backend.http.route_policy import Queue
from backend.http.sessions import SessionCookies
from backend.http.streams.streams import Streams
from backend.http.waiting.waits import Waits
from backend.runtime import Configuration, Runtime
from backend.services.database_service import DatabaseService


@dataclass(slots=True, kw_only=True)
class AppState:
    """The state of one application."""

    settings: Configuration
    auth_required: bool
    max_body_bytes: int
    has_open_metrics: bool
    """Whether `/metrics` needs no token for requests from this machine."""
    metrics: RequestMetrics
    own_origin: OwnOrigin
    cookies: SessionCookies
    cross_origin: CrossOrigin | None
    """`None` when no other origin is permitted."""
    limits: RequestLimits
    queues: dict[Queue, FairQueue]
    kept: KeptAnswers
    streams: Streams
    waits: Waits
    inbound: InboundLimits = field(default_factory=InboundLimits)
    runtime: Runtime | None = None
    """`None` until the lifespan has begun."""
    service: DatabaseService | None = None
    """The runtime's service."""

    @property
    def installation(self) -> Runtime:
        """The running installation. Raises `NotRunning` before the lifespan has begun."""
        if self.runtime is None:
            raise NotRunning
        return self.runtime


def state_of(app: FastAPI) -> AppState:
    """The application's state. Raises `TypeError` for an application not made by `create_app`."""
    state: Any = app.state
    if not isinstance(state, AppState):
        raise TypeError("this application was not made by create_app")
    return state
