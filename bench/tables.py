"""Figures as text: tables and bars."""

from collections.abc import Iterable, Sequence

from bench.contestants import CONTESTANTS
from bench.goals import CONNECTIONS, Verdict, verdicts
from bench.results import LoadKey, Results
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


LOAD_HEAD = (
    "server",
    "req/s",
    "of ceiling",
    "P50 ms",
    "P95 ms",
    "P99 ms",
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
    value = "-" if verdict.value is None else f"{verdict.value:.2f}{unit}"
    return goal.title, f"{goal.relation.value} {goal.bound:g}{unit}", value, verdict.word


FIGURE_TITLES = {
    "engine.write.engine": "engine, 64 waiting writers, writes a second",
    "engine.write.commit_each": "plain sqlite3, one thread, a COMMIT each, writes a second",
    "engine.write.one_transaction": "plain sqlite3, one thread, one transaction, writes a second",
    "engine.read.engine": "engine, 64 waiting readers, reads a second",
    "engine.read.plain": "plain sqlite3, one thread, reads a second",
    "depth.million.page1.per_second": "a million runs, page 1, requests a second",
    "depth.million.page1.p99": "a million runs, page 1, P99 ms",
    "depth.million.page1000.per_second": "a million runs, page 1,000, requests a second",
    "depth.million.page1000.p99": "a million runs, page 1,000, P99 ms",
    "depth.thousand.page1.per_second": "a thousand runs, page 1, requests a second",
    "guard.create.without": "create without guarded rows, 64 at once, µs of the processor",
    "guard.create.with": "create with them, µs",
    "guard.reveal.without": "unkept reveal without guarded rows, 64 at once, µs of the processor",
    "guard.reveal.with": "unkept reveal with them, µs",
    "memory.requests.few.count": "requests of every kind, the fewer",
    "memory.requests.few.mib": "resident after them, MiB",
    "memory.requests.many.count": "requests of every kind, the more",
    "memory.requests.many.mib": "resident after them, MiB",
    "memory.import.few.mib": "import of 10,000 documents, peak MiB",
    "memory.import.many.mib": "import of 100,000 documents, peak MiB",
    "memory.import.many.per_second": "import of 100,000 documents, documents a second",
    **{
        f"slow_query.{contestant.name}.ms": f"the slow query beside {contestant.title}, ms"
        for contestant in CONTESTANTS
    },
}


def figure_rows(results: Results) -> list[Row]:
    """The figures that are not part of the comparison, each with a title."""
    metrics = results.metrics()
    return [
        (title, number(metrics[name])) for name, title in FIGURE_TITLES.items() if name in metrics
    ]


def part_table(results: Results) -> tuple[Row, list[Row]]:
    """The parts of each kind of request, with a column for each kind."""
    kinds = list(results.parts)
    names = list(dict.fromkeys(name for parts in results.parts.values() for name in parts))
    # Parts that only writes have come last in `names`, but belong above the sums.
    names.sort(key=lambda name: (name.startswith("whole"), name.startswith("rest")))
    rows: list[Row] = []
    for name in names:
        values = [results.parts[kind].get(name) for kind in kinds]
        rows.append((name, *("-" if value is None else f"{value:.0f}" for value in values)))
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
