"""The state of the service: health, readiness and metrics."""

from fastapi import Request, Response

from backend.dependencies import GuardedRouter, Service, problems
from backend.http.metrics import metrics_text
from backend.http.route_policy import RoutePolicy, without_token
from backend.http.state import state_of
from backend.schemas.backups import BackupProgress
from backend.schemas.system import Health, Readiness
from models import Scope

router = GuardedRouter(
    tag="system",
    about="The state of the service.",
    policies={
        ("GET", "/health"): without_token(is_probe=True),
        ("GET", "/"): without_token(),
        ("GET", "/ready"): without_token(is_probe=True),
        ("GET", "/metrics"): RoutePolicy(
            # Metrics take no slot, so that they also answer under load.
            scope=Scope.ADMIN,
            queue=None,
            is_open_on_loopback=True,
        ),
    },
)


@router.get("/health")
async def get_health() -> Health:
    """200 while the process lives."""
    return Health()


@router.get("/")
async def get_root() -> Health:
    """The same as `/health`."""
    return Health()


@router.get(
    "/ready",
    responses={
        503: {"model": Readiness, "description": "The service can't answer requests: see `checks`."}
    },
)
async def get_readiness(service: Service, response: Response) -> Readiness:
    """200 when requests can be served, otherwise 503; `checks` says what is wrong."""
    readiness = await service.readiness.check()
    if readiness.status != "ready":
        response.status_code = 503
    return readiness


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Prometheus text.",
        },
        **problems(),
    },
)
async def get_metrics(request: Request, service: Service) -> Response:
    """Counters and gauges as Prometheus text."""
    state = state_of(request.app)
    # Tests have a service without an installation.
    runtime = state.runtime
    backup = runtime.backups.progress if runtime is not None else BackupProgress()
    text = await metrics_text(
        service,
        state.metrics,
        state.queues.values(),
        state.inbound,
        state.streams,
        state.waits,
        backup,
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
