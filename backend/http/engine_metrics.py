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


def _of_readers(part: str, reader: str, queue: str) -> list[EngineMetric]:
    """The metrics of one kind of readers. Their names begin with `part`."""
    described = (
        ("queries", "queries_total", "Queries that were answered."),
        ("hops", "hops_total", f"Hops, each of which carries queries to {reader}."),
        ("largest_hop", "largest_hop", "Queries in the largest hop so far."),
        ("stalls", "stalls_total", "Hops so slow that another reader took over the queue."),
        (
            "reopened",
            "reopened_total",
            "Connections replaced after a failure of the file or the disk.",
        ),
        (
            "wait_total",
            "wait_seconds_total",
            f"Time queries spent in {queue}, in seconds.",
        ),
        ("waiting", "waiting", f"Queries in {queue}."),
        ("unanswered", "unanswered", f"Callers waiting for the answer of {reader}."),
        ("refused", "refused_total", f"Queries refused because {queue} was full."),
        ("expired", "expired_total", f"Queries abandoned after too long in {queue}."),
        (
            "cancelled",
            "cancelled_total",
            f"Queries whose caller left while they were in {queue}.",
        ),
        ("connections", "connections", "Connections open for reading."),
    )
    return [EngineMetric(part, member, f"{part}_{name}", said) for member, name, said in described]


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
        "units_together",
        "writer_units_together_total",
        "Units of work that ran as one with others like them.",
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
    *_of_readers("readers", "a reader", "the readers' queue"),
    *_of_readers("slow_readers", "a reader for slow reads", "the queue for slow reads"),
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
