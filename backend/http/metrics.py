"""Counts requests, and writes everything that /metrics shows."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from backend.http.engine_metrics import engine_families
from backend.http.fair_queue import FairQueue
from backend.http.inbound_budget import InboundLimits
from backend.http.stream_metrics import by_label, stream_families, wait_families
from backend.http.streams.streams import Streams
from backend.http.waiting.waits import Waits
from backend.observability.log_output import dropped_lines
from backend.schemas.backups import BackupProgress
from backend.services.database_service import DatabaseService
from backend.services.runs.backlog import RunBacklog

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LABELS = ("method", "route", "status")
_REFUSALS = ("headers_too_large", "not_http", "slow", "too_many", "upgrade", "uri_too_long")


class RequestMetrics:
    """Requests by method, route template and status, with their durations in seconds.

    The counters are plain lists: only the event loop writes them, on every request.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], list[float]] = {}
        self.connections: Mapping[str, int] = {}
        """Faults of clients by kind, counted by the server."""

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:
            # The sum, then a count for each bucket, and one for requests slower than all of them.
            series = self._series[key] = [0.0] * (len(_BUCKETS) + 2)
        series[0] += seconds
        series[bisect_left(_BUCKETS, seconds) + 1] += 1

    def clear(self) -> None:
        """Count requests from zero."""
        self._series.clear()

    def families(self) -> Iterator[HistogramMetricFamily | CounterMetricFamily]:
        """The durations as a Prometheus histogram, and the refused connections as a counter."""
        family = HistogramMetricFamily(
            "strongroom_request_duration_seconds",
            "Time from request to answer, in seconds.",
            labels=_LABELS,
        )
        for (method, route, status), series in list(self._series.items()):
            total = 0.0
            buckets = []
            for bound, count in zip((*map(str, _BUCKETS), "+Inf"), series[1:], strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric((method, route, str(status)), buckets, series[0])
        yield family
        refused = CounterMetricFamily(
            "strongroom_connections_refused",
            "Connections refused or closed because they were too many, too slow or not served.",
            labels=("reason",),
        )
        counts = dict(self.connections)
        # Every series starts at 0, because a rate misses the first event of one that starts at 1.
        for reason in (*_REFUSALS, *sorted(counts.keys() - _REFUSALS)):
            refused.add_metric((reason,), counts.get(reason, 0))
        yield refused


@dataclass(frozen=True, slots=True)
class Sources:
    """The objects that /metrics reads its numbers from."""

    requests: RequestMetrics
    stats: Mapping[str, Any]
    """The result of `AsyncConnectionPool.stats`."""
    queues: Collection[FairQueue]
    inbound: InboundLimits
    streams: Streams
    waits: Waits
    backlog: RunBacklog | None
    expired_leases: Mapping[str, int]
    refused_tokens: int
    refused_reveals: int
    audit_losses: int
    replays: int
    logs_to_index: int
    backup: BackupProgress
    now: datetime


async def metrics_text(
    service: DatabaseService,
    requests: RequestMetrics,
    queues: Collection[FairQueue],
    inbound: InboundLimits,
    streams: Streams,
    waits: Waits,
    backup: BackupProgress,
) -> bytes:
    """The current metrics of the application and its service, as Prometheus text."""
    return render_metrics(
        Sources(
            requests=requests,
            backlog=await service.backlog.read(),
            stats=service.db_manager.async_pool.stats(),
            queues=queues,
            inbound=inbound,
            streams=streams,
            waits=waits,
            expired_leases=service.claims.expired_leases,
            refused_tokens=service.unknown_tokens.refused,
            refused_reveals=service.refused_reveals.refused,
            audit_losses=service.audit.end.losses,
            replays=service.idempotency.replays,
            logs_to_index=_logs_to_index(service),
            backup=backup,
            now=service.clock(),
        )
    )


def _logs_to_index(service: DatabaseService) -> int:
    progress = service.log_indexing.progress
    return progress.left if progress is not None else 0


class _ServiceCollector(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Any]:
        sources = self._sources
        yield from sources.requests.families()
        yield GaugeMetricFamily(
            "strongroom_requests_waiting",
            "Requests waiting for a slot.",
            sum(queue.waiting for queue in sources.queues),
        )
        yield CounterMetricFamily(
            "strongroom_requests_refused",
            "Requests refused after waiting too long for a slot.",
            sum(queue.refused for queue in sources.queues),
        )
        yield CounterMetricFamily(
            "strongroom_tokens_refused",
            "Requests refused because their token is unknown, revoked or expired.",
            sources.refused_tokens,
        )
        yield CounterMetricFamily(
            "strongroom_reveals_refused",
            "Reveals of a secret refused to a valid token.",
            sources.refused_reveals,
        )
        yield CounterMetricFamily(
            "strongroom_idempotency_replays",
            "Stored answers that were sent again for an Idempotency-Key.",
            sources.replays,
        )
        yield CounterMetricFamily(
            "strongroom_audit_losses",
            "Times that the end of the audit was cut or changed by another program.",
            sources.audit_losses,
        )
        yield CounterMetricFamily(
            "strongroom_log_lines_dropped",
            "Log lines dropped because the reader of the log was too slow.",
            dropped_lines(),
        )
        yield GaugeMetricFamily(
            "strongroom_logs_to_index",
            "Logs of an earlier version whose words are still to be indexed, at most.",
            sources.logs_to_index,
        )
        yield GaugeMetricFamily(
            "strongroom_backup_done_ratio",
            "The share of the running backup that is done, from 0 to 1; 0 when none is running.",
            sources.backup.share,
        )
        yield GaugeMetricFamily(
            "strongroom_backup_left_seconds",
            "Estimated time until the running backup ends, in seconds; 0 when none is running, or "
            "too little is done.",
            sources.backup.seconds_left,
        )
        yield from _runs(sources)
        yield from _deliveries(sources.inbound)
        yield from stream_families(sources.streams)
        yield from wait_families(sources.waits)
        yield from engine_families(sources.stats)


def _runs(sources: Sources) -> Iterator[Any]:
    backlog = sources.backlog
    if backlog is not None:
        yield GaugeMetricFamily(
            "strongroom_runs_pending",
            "Agent runs waiting for a worker, without those of deleted projects.",
            backlog.pending,
        )
        yield GaugeMetricFamily(
            "strongroom_runs_oldest_pending_age_seconds",
            "Age of the oldest pending run, in seconds; 0 when there is none.",
            backlog.oldest_pending_seconds(sources.now),
        )
        yield GaugeMetricFamily(
            "strongroom_runs_leased", "Agent runs leased to a worker.", backlog.leased
        )
        yield GaugeMetricFamily(
            "strongroom_projects_to_index",
            "Projects that are not indexed for searches yet, at most.",
            backlog.projects_to_index,
        )
        yield GaugeMetricFamily(
            "strongroom_runs_to_index",
            "Agent runs that are not indexed for searches yet, at most.",
            backlog.runs_to_index,
        )
    yield by_label(
        "strongroom_leases_expired",
        "Leases that expired, by the outcome of their runs.",
        ("outcome", ("requeued", "failed")),
        sources.expired_leases,
    )


def _deliveries(inbound: InboundLimits) -> Iterator[Any]:
    yield by_label(
        "strongroom_deliveries_refused",
        "Deliveries refused: signature missing or wrong, no memory left, or too slow.",
        ("reason", ("signature", "no_room", "too_slow")),
        inbound.refused,
    )
    yield GaugeMetricFamily(
        "strongroom_deliveries_unstored_bytes",
        "Delivery bodies being received or stored, in bytes.",
        inbound.used,
    )


def _process_registry() -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


_PROCESS = _process_registry()


def render_metrics(sources: Sources) -> bytes:
    """All metrics as Prometheus text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServiceCollector(sources))
    return generate_latest(registry) + generate_latest(_PROCESS)
