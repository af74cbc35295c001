"""How the service is, and what its retention removes."""

from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom.models import Health, PruneProgress, Readiness, RetentionStatus


class System(Resource):
    """`client.system`."""

    @operation("getHealth", "getRoot")
    async def health(self) -> Health:
        """Whether the process lives."""
        response = await self._transport.get("/health")
        return parsed(Health, response)

    @operation("getReadiness")
    async def ready(self) -> Readiness:
        """Whether requests can be served; `checks` says what is wrong. It asks once."""
        response = await self._transport.once("/ready", also=503)
        return parsed(Readiness, response)

    @operation("getMetrics")
    async def metrics(self) -> str:
        """Counters and gauges as Prometheus text."""
        response = await self._transport.get("/metrics")
        return response.text

    @operation("getRetention")
    async def retention(self) -> RetentionStatus:
        """The limits, what exceeds them now, and the progress of the latest removal."""
        response = await self._transport.get("/api/retention")
        return parsed(RetentionStatus, response)

    @operation("pruneRows")
    async def prune(self, *, idempotency_key: str | None = None) -> PruneProgress:
        """Remove what exceeds the limits, in small steps, while serving. The server does the same
        on its own every few minutes."""
        response = await self._transport.post(
            "/api/retention/prune", idempotency_key=idempotency_key
        )
        return parsed(PruneProgress, response)
