"""The metrics of streams and of requests that wait."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from backend.http.streams.stream import Ending
from backend.http.streams.streams import Streams
from backend.http.waiting.waiter import Ending as WaitEnding
from backend.http.waiting.waits import Waits

_FEEDS = ("events", "logs", "messages")


def stream_families(streams: Streams) -> Iterator[Any]:
    """The metrics of streams."""
    opened, sent = streams.open(), streams.sent()
    gauge = GaugeMetricFamily("strongroom_streams_open", "Open streams.", labels=("feed",))
    counter = CounterMetricFamily(
        "strongroom_stream_entries_sent", "Entries sent in streams.", labels=("feed",)
    )
    for feed in _FEEDS:
        gauge.add_metric((feed,), opened.get(feed, 0))
        counter.add_metric((feed,), sent.get(feed, 0))
    yield gauge
    yield counter
    yield by_label(
        "strongroom_streams_ended",
        "Streams that ended, by the reason.",
        ("reason", tuple(Ending)),
        streams.ended,
    )
    yield CounterMetricFamily(
        "strongroom_streams_refused",
        "Streams refused because there were too many.",
        streams.refused,
    )


def wait_families(waits: Waits) -> Iterator[Any]:
    """The metrics of requests that wait."""
    gauge = GaugeMetricFamily(
        "strongroom_waits_open", "Requests that wait for a change.", labels=("kind",)
    )
    for kind, count in waits.open().items():
        gauge.add_metric((kind,), count)
    yield gauge
    yield by_label(
        "strongroom_waits_ended",
        "Requests whose wait has ended, by the reason.",
        ("reason", tuple(WaitEnding)),
        waits.ended,
    )
    yield by_label(
        "strongroom_waits_asked",
        "Times that the database was asked: for a request that came, or because of a change.",
        ("kind", ("arrivals", "reads", "claims")),
        waits.asked,
    )


def by_label(
    name: str, text: str, label: tuple[str, tuple[str, ...]], counts: Mapping[str, int]
) -> CounterMetricFamily:
    """A counter with a series for each value of the label, including those that are still 0."""
    label_name, values = label
    family = CounterMetricFamily(name, text, labels=(label_name,))
    for value in values:
        family.add_metric((value,), counts.get(value, 0))
    return family
