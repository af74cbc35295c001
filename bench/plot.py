"""The plot of a run."""

from pathlib import Path
from typing import Any

from bench.contestants import CONTESTANTS
from bench.goals import CONNECTIONS, LIMIT_P95_MS
from bench.growth_kinds import KINDS, SEARCHES
from bench.results import LoadKey, Results, Sample
from bench.workloads import WORKLOADS

COLOURS = ("#9aa5b1", "#c2410c", "#2f855a", "#276749", "#2b6cb0", "#6b46c1")


def draw(results: Results, path: Path) -> None:
    """Requests a second and P99 of every server, at 64 connections, as a PNG."""
    # Here, because only the benchmark's own environment has it.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 10), layout="constrained")
    rates, latencies = figure.subplots(2, 1)
    _bars(rates, results, "per_second")
    rates.set_ylabel("requests a second")
    rates.set_title(f"{CONNECTIONS} connections, durable writes, median of the rounds")
    if rates.get_legend_handles_labels()[0]:
        rates.legend(loc="upper right", fontsize=8)
    _bars(latencies, results, "p99")
    latencies.set_yscale("log")
    latencies.set_ylabel("P99, milliseconds (logarithmic)")
    latencies.axhline(LIMIT_P95_MS, color="#444444", linewidth=0.8, linestyle="--")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def draw_growth(results: Results, path: Path) -> None:
    """How many times as long each request takes with many rows as with a thousand, as a PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    metrics = results.metrics()
    shown = [
        (title, metrics[f"growth.{kind}.many.p50"] / metrics[f"growth.{kind}.few.p50"])
        for kind, title in {**KINDS, **SEARCHES}.items()
        if metrics.get(f"growth.{kind}.few.p50")
    ][::-1]
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots()
    if shown:
        titles, times = zip(*shown, strict=True)
        axes.barh(range(len(shown)), times, color=COLOURS[4])
        axes.set_yticks(range(len(shown)), titles, fontsize=8)
    axes.axvline(1.3, color="#444444", linewidth=0.8, linestyle="--")
    axes.set_xlabel("P50 with many rows, against the P50 with a thousand of each kind")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _bars(axes: Any, results: Results, field: str) -> None:
    shown = [w for w in WORKLOADS if any(_median(results, c.name, w.name) for c in CONTESTANTS)]
    width = 0.8 / len(CONTESTANTS)
    for index, contestant in enumerate(CONTESTANTS):
        places, heights = [], []
        for place, workload in enumerate(shown):
            median = _median(results, contestant.name, workload.name)
            if median is not None:
                places.append(place + (index - len(CONTESTANTS) / 2 + 0.5) * width)
                heights.append(getattr(median, field))
        if places:
            axes.bar(places, heights, width, label=contestant.title, color=COLOURS[index])
    axes.set_xticks(range(len(shown)), [workload.name for workload in shown])
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _median(results: Results, peer: str, workload: str) -> Sample | None:
    return results.median(LoadKey(peer, workload, CONNECTIONS))
