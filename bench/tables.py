"""Figures as text: tables and bars."""

from collections.abc import Iterable, Sequence

from bench.contestants import CONTESTANTS
from bench.costs.meter import LOOP, THREADS
from bench.costs.probes import PROBES
from bench.costs.table import OTHERS, REST, WHOLE, WITH_PROBES
from bench.goals import CONNECTIONS, verdicts
from bench.growth_kinds import KINDS, SEARCHES
from bench.results import LoadKey, Results
from bench.verdicts import Verdict
from bench.workloads import WORKLOADS, Workload

Row = Sequence[str]
BAR = 40
"""The length of the longest bar, in characters."""


def number(value: float | None) -> str:
    """A figure with its significant digits; a dash if it was not measured."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(head: Row, rows: Iterable[Row]) -> str:
    """A table in Markdown: the first column left-aligned, all others right-aligned."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def plain(head: Row, rows: Iterable[Row]) -> str:
    """The same table for a terminal."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def growth(results: Results) -> tuple[Row, list[Row]]:
    """What many rows cost against a thousand of each kind: the head, and a row for each request."""
    metrics = results.metrics()
    head = ("request", "P50 ms, a thousand", "many", "times", "P99 ms, a thousand", "many")
    rows: list[Row] = []
    for kind, title in {**KINDS, **SEARCHES}.items():
        few, many = (metrics.get(f"growth.{kind}.{size}.p50") for size in ("few", "many"))
        if few is None or many is None:
            continue
        tails = [number(metrics.get(f"growth.{kind}.{size}.p99")) for size in ("few", "many")]
        rows.append((title, number(few), number(many), number(many / few), *tails))
    for what in ("start", "verify", "backup"):
        few, many = (metrics.get(f"growth.{what}.{size}.seconds") for size in ("few", "many"))
        if few is not None and many is not None:
            title = "start until ready" if what == "start" else f"`strongroom {what}`"
            rows.append(
                (f"{title}, seconds", number(few), number(many), number(many / few), "-", "-")
            )
    return head, rows


LOAD_HEAD = (
    "server",
    "req/s",
    "of ceiling",
    "P50 ms",
    "P95 ms",
    "P99 ms",
    "P99.9 ms",
    "CPU s",
    "µs/req",
    "MiB",
)


def load_rows(results: Results, workload: Workload, connections: int) -> list[Row]:
    """One workload at one number of connections: a row for each measured server."""
    ceiling = results.median(LoadKey("ceiling", workload.name, connections))
    rows: list[Row] = []
    for contestant in CONTESTANTS:
        median = results.median(LoadKey(contestant.name, workload.name, connections))
        if median is None:
            continue
        share = f"{median.per_second / ceiling.per_second:.2f}" if ceiling else "-"
        rows.append(
            (
                contestant.title,
                number(median.per_second),
                share,
                number(median.p50),
                number(median.p95),
                number(median.p99),
                number(median.p999),
                number(median.cpu_seconds),
                number(median.cpu_us),
                number(median.peak_mib),
            )
        )
    return rows


def connections_measured(results: Results) -> list[int]:
    """The measured numbers of connections, ascending."""
    return sorted({key.connections for key in results.loads})


SCALE_HEAD_FIRST = ("workload", "server")


def scaling(results: Results) -> tuple[Row, list[Row]]:
    """Requests a second and P99 at each number of connections, for every server."""
    columns = connections_measured(results)
    head = [*SCALE_HEAD_FIRST, *(f"{n} conn." for n in columns)]
    rows: list[Row] = []
    for workload in WORKLOADS:
        for contestant in CONTESTANTS:
            cells = []
            for connections in columns:
                median = results.median(LoadKey(contestant.name, workload.name, connections))
                shown = median and f"{number(median.per_second)} ({number(median.p99)} ms)"
                cells.append(shown or "-")
            if set(cells) != {"-"}:
                rows.append((workload.title, contestant.title, *cells))
    return head, rows


GOAL_HEAD = ("goal", "bound", "figure", "verdict")


def goal_rows(results: Results) -> list[Row]:
    """Every goal with its figure."""
    return [_goal_row(verdict) for verdict in verdicts(results.metrics())]


def _goal_row(verdict: Verdict) -> Row:
    goal = verdict.goal
    unit = f" {goal.unit}" if goal.unit else ""
    value = "-" if verdict.value is None else f"{_figure(verdict.value)}{unit}"
    bound = f"{goal.bound:,.0f}" if goal.bound >= 1000 else f"{goal.bound:g}"
    return goal.title, f"{goal.relation.value} {bound}{unit}", value, verdict.word


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


def _place(part: str) -> int:
    """The rest and the sums come last, the parts in the order of a request."""
    last = (OTHERS, REST, WHOLE, WITH_PROBES)
    order = (LOOP, *PROBES, THREADS, *last)
    return order.index(part) if part in order else len(order) - len(last)


def part_table(results: Results) -> tuple[Row, list[Row]]:
    """The parts of each kind of request, with a column for each kind."""
    kinds = list(results.parts)
    names = list(dict.fromkeys(name for parts in results.parts.values() for name in parts))
    names.sort(key=_place)
    rows: list[Row] = []
    for name in names:
        values = [results.parts[kind].get(name) for kind in kinds]
        rows.append((name, *("-" if value is None else f"{value:.1f}" for value in values)))
    return ("part (µs)", *kinds), rows


def bars(results: Results, connections: int = CONNECTIONS) -> str:
    """Requests a second of every server and workload, drawn with characters."""
    lines: list[str] = []
    width = max(len(contestant.title) for contestant in CONTESTANTS)
    for workload in WORKLOADS:
        measured = [
            (contestant.title, median)
            for contestant in CONTESTANTS
            if (median := results.median(LoadKey(contestant.name, workload.name, connections)))
        ]
        if not measured:
            continue
        longest = max(median.per_second for _, median in measured) or 1.0
        lines.append(f"{workload.title} (requests a second, {connections} connections)")
        for title, median in measured:
            bar = "█" * max(1, round(median.per_second / longest * BAR))
            figures = f"{number(median.per_second)}  P99 {number(median.p99)} ms"
            lines.append(f"  {title:{width}}  {bar:{BAR}}  {figures}")
        lines.append("")
    return "\n".join(lines).rstrip()
