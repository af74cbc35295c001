"""Counters of requests, and everything that /metrics shows."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from backend.admission import Seats
from backend.log_output import dropped_lines

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LABELS = ("method", "route", "status")


class RequestMetrics:
    """Requests by method, route template and status, with their durations in seconds.

    Plain lists, because the event loop alone writes them, on every request.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], list[float]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        series = self._series.get(key)
        if series is None:
            # The sum, then a count for each bucket and one for what is slower than all.
            series = self._series[key] = [0.0] * (len(_BUCKETS) + 2)
        series[0] += seconds
        for index, bound in enumerate(_BUCKETS, 1):
            if seconds <= bound:
                series[index] += 1
                return
        series[-1] += 1

    def families(self) -> Iterator[HistogramMetricFamily]:
        """The durations as a Prometheus histogram."""
        family = HistogramMetricFamily(
            "strongroom_request_duration_seconds", "Time from request to answer.", labels=_LABELS
        )
        for (method, route, status), series in list(self._series.items()):
            total = 0.0
            buckets = []
            for bound, count in zip((*map(str, _BUCKETS), "+Inf"), series[1:], strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric((method, route, str(status)), buckets, series[0])
        yield family


class _ServiceCollector(Collector):
    def __init__(
        self,
        requests: RequestMetrics,
        stats: Callable[[], dict[str, Any]],
        seats: Mapping[str, Seats],
    ) -> None:
        self._requests = requests
        self._stats = stats
        self._seats = seats

    def collect(self) -> Iterator[Any]:
        yield from self._requests.families()
        yield GaugeMetricFamily(
            "strongroom_requests_waiting",
            "Requests that wait for their turn.",
            sum(seats.waiting for seats in self._seats.values()),
        )
        yield CounterMetricFamily(
            "strongroom_requests_refused",
            "Requests that waited too long for their turn.",
            sum(seats.refused for seats in self._seats.values()),
        )
        yield CounterMetricFamily(
            "strongroom_log_lines_dropped",
            "Lines of the log that were not written, since nobody took them in time.",
            dropped_lines(),
        )
        stats = self._stats()
        for part in ("writer", "readers"):
            for name, value in stats.get(part, {}).items():
                full = f"strongroom_{part}_{name}"
                if name in _GAUGES:
                    yield GaugeMetricFamily(full, _help(part, name), value=value)
                else:
                    yield CounterMetricFamily(full, _help(part, name), value=value)
        yield GaugeMetricFamily(
            "strongroom_wal_bytes", "Size of the write-ahead log.", stats.get("wal_bytes", 0)
        )


_GAUGES = frozenset({"waiting", "unanswered", "connections", "largest_batch", "largest_hop"})


def _help(part: str, name: str) -> str:
    return f"{part.capitalize()}: {name.replace('_', ' ')}."


def render_metrics(
    requests: RequestMetrics, stats: Callable[[], dict[str, Any]], seats: Mapping[str, Seats]
) -> bytes:
    """Everything as Prometheus text. `stats` gives what `AsyncConnectionPool.stats` gives."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServiceCollector(requests, stats, seats))
    return generate_latest(registry)
