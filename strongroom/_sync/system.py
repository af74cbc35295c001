# Made of strongroom/_async by `make schema`: change it there.
"""How the service is, and what its retention removes."""

from strongroom._operations import operation
from strongroom._sync.resource import Resource
from strongroom._sync.transport import parsed
from strongroom.models import Health, PruneProgress, Readiness, RetentionStatus


class System(Resource):
    """`client.system`."""

    @operation("getHealth", "getRoot")
    def health(self) -> Health:
        """Whether the process lives."""
        response = self._transport.get("/health")
        return parsed(Health, response)

    @operation("getReadiness")
    def ready(self) -> Readiness:
        """Whether requests can be served; `checks` says what is wrong. It asks once."""
        response = self._transport.once("/ready", also=503)
        return parsed(Readiness, response)

    @operation("getMetrics")
    def metrics(self) -> str:
        """Counters and gauges as Prometheus text."""
        response = self._transport.get("/metrics")
        return response.text

    @operation("getRetention")
    def retention(self) -> RetentionStatus:
        """The limits, what exceeds them now, and the progress of the latest removal."""
        response = self._transport.get("/api/retention")
        return parsed(RetentionStatus, response)

    @operation("pruneRows")
    def prune(self, *, idempotency_key: str | None = None) -> PruneProgress:
        """Remove what exceeds the limits, in small steps, while serving. The server does the same
        on its own every few minutes."""
        response = self._transport.post("/api/retention/prune", idempotency_key=idempotency_key)
        return parsed(PruneProgress, response)
