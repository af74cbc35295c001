"""The names of the engine's counters and gauges in /metrics."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


class EngineMetric(NamedTuple):
    """A member of `AsyncConnectionPool.stats`, and the metric that shows it."""

    part: str
    member: str
    name: str
    """The metric's name without the prefix; a counter's name ends in `_total`."""
    help: str


ENGINE_METRICS: Final = (
    EngineMetric("writer", "units", "writer_units_total", "Units of work that succeeded."),
    EngineMetric(
        "writer", "failed_units", "writer_failed_units_total", "Units of work that failed."
    ),
    EngineMetric("writer", "commits", "writer_commits_total", "Commits."),
    EngineMetric("writer", "failed_commits", "writer_failed_commits_total", "Failed commits."),
    EngineMetric(
        "writer", "largest_batch", "writer_largest_batch", "Units in the largest commit so far."
    ),
    EngineMetric(
        "writer",
        "repeated_batches",
        "writer_repeated_batches_total",
        "Batches that were run again, because a unit failed after it had changed something.",
    ),
    EngineMetric(
        "writer",
        "wait_total",
        "writer_wait_seconds_total",
        "Time units of work spent in the writer's queue, in seconds.",
    ),
    EngineMetric(
        "writer",
        "busy_total",
        "writer_busy_seconds_total",
        "Time the writer spent on units of work and commits, in seconds.",
    ),
    EngineMetric(
        "writer",
        "checkpoints",
        "writer_checkpoints_total",
        "Number of times the write-ahead log was copied into the database.",
    ),
    EngineMetric(
        "writer",
        "wal_truncations",
        "writer_wal_truncations_total",
        "Number of times the write-ahead log was emptied.",
    ),
    EngineMetric("writer", "waiting", "writer_waiting", "Units of work in the writer's queue."),
    EngineMetric(
        "writer", "unanswered", "writer_unanswered", "Callers waiting for the writer's answer."
    ),
    EngineMetric(
        "writer",
        "refused",
        "writer_refused_total",
        "Units of work refused because the writer's queue was full.",
    ),
    EngineMetric(
        "writer",
        "expired",
        "writer_expired_total",
        "Units of work abandoned after too long in the writer's queue.",
    ),
    EngineMetric(
        "writer",
        "cancelled",
        "writer_cancelled_total",
        "Units of work whose caller left while they were in the writer's queue.",
    ),
    EngineMetric("readers", "queries", "readers_queries_total", "Queries that were answered."),
    EngineMetric(
        "readers", "hops", "readers_hops_total", "Hops, each of which carries queries to a reader."
    ),
    EngineMetric(
        "readers", "largest_hop", "readers_largest_hop", "Queries in the largest hop so far."
    ),
    EngineMetric(
        "readers",
        "stalls",
        "readers_stalls_total",
        "Hops so slow that another reader took over the queue.",
    ),
    EngineMetric(
        "readers",
        "reopened",
        "readers_reopened_total",
        "Connections replaced after a failure of the file or the disk.",
    ),
    EngineMetric(
        "readers",
        "wait_total",
        "readers_wait_seconds_total",
        "Time queries spent in the readers' queue, in seconds.",
    ),
    EngineMetric("readers", "waiting", "readers_waiting", "Queries in the readers' queue."),
    EngineMetric(
        "readers", "unanswered", "readers_unanswered", "Callers waiting for a reader's answer."
    ),
    EngineMetric(
        "readers",
        "refused",
        "readers_refused_total",
        "Queries refused because the readers' queue was full.",
    ),
    EngineMetric(
        "readers",
        "expired",
        "readers_expired_total",
        "Queries abandoned after too long in the readers' queue.",
    ),
    EngineMetric(
        "readers",
        "cancelled",
        "readers_cancelled_total",
        "Queries whose caller left while they were in the readers' queue.",
    ),
    EngineMetric("readers", "connections", "readers_connections", "Connections open for reading."),
)
"""Every member of the statistics; a test compares them with the engine."""


def engine_families(
    stats: Mapping[str, Any],
) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    """The metrics of `stats`; a closed pool has only those of the write-ahead log."""
    for metric in ENGINE_METRICS:
        if metric.part in stats:
            kind = CounterMetricFamily if metric.name.endswith("_total") else GaugeMetricFamily
            value = stats[metric.part][metric.member]
            yield kind(f"strongroom_{metric.name}", metric.help, value=value)
    yield GaugeMetricFamily(
        "strongroom_wal_bytes", "Size of the write-ahead log, in bytes.", stats.get("wal_bytes", 0)
    )
    yield GaugeMetricFamily(
        "strongroom_wal_pinned",
        "Whether another program keeps the write-ahead log from being emptied: 1 or 0.",
        float(stats.get("wal_pinned", False)),
    )
