"""The report of a run: a page of documentation, a plot, and a text for the terminal."""

from collections.abc import Callable
from pathlib import Path

from bench import figures, tables
from bench.goals import CONNECTIONS
from bench.results import Results
from bench.workloads import WORKLOADS

TEMPLATE = Path(__file__).with_name("performance.template.md")


def write(results: Results, folder: Path) -> None:
    """Write `performance.md` and its plots into the folder."""
    # Imported here, because the library takes a second to load and only a report needs it.
    from bench.plot import draw, draw_growth  # noqa: PLC0415

    (folder / "performance.md").write_text(as_markdown(results), "utf-8")
    draw(results, folder / "performance.png")
    draw_growth(results, folder / "growth.png")


def as_markdown(results: Results) -> str:
    """The template with the run's figures. Its other text stays unchanged."""
    text = TEMPLATE.read_text("utf-8")
    parts: dict[str, Callable[[Results], str]] = {
        "run": _run,
        "machine": _machine,
        "goals": lambda r: tables.markdown(tables.GOAL_HEAD, tables.goal_rows(r)),
        "loads": _loads,
        "scaling": lambda r: tables.markdown(*tables.scaling(r)),
        "growth": _growth,
        "figures": lambda r: tables.markdown(("figure", "median"), figures.rows(r)),
        "parts": lambda r: tables.markdown(*tables.part_table(r)),
        "bars": lambda r: f"```text\n{tables.bars(r)}\n```",
        "notes": _notes,
    }
    for name, part in parts.items():
        mark = f"{{{{ {name} }}}}"
        if mark not in text:
            raise ValueError(f"{TEMPLATE.name} has no {mark}")
        text = text.replace(mark, part(results))
    return text


def as_text(results: Results) -> str:
    """The whole report for a terminal."""
    sections = []
    for workload in WORKLOADS:
        for connections in tables.connections_measured(results):
            rows = tables.load_rows(results, workload, connections)
            if rows:
                title = f"{workload.title}, {connections} connections"
                sections.append(f"{title}\n{tables.plain(tables.LOAD_HEAD, rows)}")
    sections.append(tables.bars(results))
    head, rows = tables.growth(results)
    if rows:
        sections.append(tables.plain(head, rows))
    rows = figures.rows(results)
    if rows:
        sections.append(tables.plain(("figure", "median"), rows))
    if results.parts:
        sections.append(tables.plain(*tables.part_table(results)))
    sections.append(tables.plain(tables.GOAL_HEAD, tables.goal_rows(results)))
    if results.notes:
        sections.append("\n".join(results.notes))
    return "\n\n".join(filter(None, sections))


def _run(results: Results) -> str:
    return (
        f"Started {results.started}, the median of {results.rounds} rounds:\n\n"
        f"    {results.command}"
    )


def _machine(results: Results) -> str:
    rows = [*results.machine.items(), *results.versions.items()]
    return tables.markdown(("what", "which"), rows)


def _loads(results: Results) -> str:
    sections = []
    for workload in WORKLOADS:
        rows = tables.load_rows(results, workload, CONNECTIONS)
        if rows:
            table = tables.markdown(tables.LOAD_HEAD, rows)
            sections.append(f"### {workload.title[0].upper()}{workload.title[1:]}\n\n{table}")
    return "\n\n".join(sections)


def _growth(results: Results) -> str:
    metrics = results.metrics()
    if "growth.rows.projects" not in metrics:
        return "Not measured."
    rows = ", ".join(
        f"{metrics[f'growth.rows.{kind}']:,.0f} {kind}" for kind in ("projects", "runs", "logs")
    )
    size, seconds = metrics["growth.file.mib"], metrics["growth.fill.seconds"]
    return (
        f"Many are {rows}: {size:,.0f} MiB, filled in {seconds:,.0f} seconds.\n\n"
        + tables.markdown(*tables.growth(results))
    )


def _notes(results: Results) -> str:
    said = [*results.notes, *(f"Failed: {failure}" for failure in results.failures)]
    return "\n".join(f"- {note}" for note in said) or "Everything was measured."
