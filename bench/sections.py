"""The measurements besides the comparison, each of which can be chosen by its name."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import (
    answers,
    bulk,
    conditional,
    depth,
    growth,
    latency,
    memory,
    neighbour,
    python_client,
    redaction,
    search,
    streams,
    uploads,
    uses,
)
from bench.contestants import ROOT
from bench.costs import section as costs
from bench.options import Options
from bench.processes import BenchError, environment
from bench.results import Results

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Section:
    """A measurement."""

    measure: Callable[[Options, Path, Results], None]
    """Measures in an empty folder. Raises `BenchError`."""
    figures: Sequence[str]
    """The names of all figures that it adds to the results."""


def measure_sections(options: Options, work: Path, results: Results, say: Say) -> None:
    """Measure the chosen sections in turn. A section that fails is added to the failures, and so is
    one that leaves a figure out."""
    for name, section in SECTIONS.items():
        if name in options.only:
            say(f"measuring: {name}")
            folder = work / name
            folder.mkdir()
            try:
                section.measure(options, folder, results)
            except BenchError as error:
                # Continue, because the other sections took half an hour.
                results.failures.append(str(error))
            missing = [figure for figure in section.figures if figure not in results.figures]
            if missing:
                results.failures.append(f"{name} did not measure {', '.join(missing)}")


def _engine(options: Options, folder: Path, results: Results) -> None:
    for _ in range(options.rounds):
        _add(_child("bench.engine", folder, "--seconds", str(min(options.seconds, 3.0))), results)


def _guard(options: Options, folder: Path, results: Results) -> None:
    rounds = 5 if options.quick else 40
    for _ in range(options.rounds):
        _add(_child("bench.guard", folder, "--rounds", str(rounds)), results)


def _redaction(options: Options, folder: Path, results: Results) -> None:
    rounds = 5 if options.quick else 30
    for _ in range(options.few_rounds):
        _add(_child("bench.redacting", folder, "--rounds", str(rounds)), results)
    redaction.measure(options, folder, results)


def _add(found: dict[str, Any], results: Results) -> None:
    for name, value in found.items():
        results.figures.setdefault(name, []).append(float(value))


def _child(module: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a module in its own process, and return the JSON that it prints. Raises `BenchError`."""
    command: Sequence[str] = [sys.executable, "-m", module, "--work", str(folder), *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise BenchError(f"{module} failed: {said[-1] if said else 'it said nothing'}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


SECTIONS = {
    "tail": Section(latency.measure_tail, latency.TAIL_FIGURES),
    "extremes": Section(latency.measure_extremes, latency.EXTREMES_FIGURES),
    "neighbour": Section(neighbour.measure, neighbour.FIGURES),
    "kept": Section(answers.measure_kept, answers.KEPT_FIGURES),
    "unkept": Section(answers.measure_unkept, answers.UNKEPT_FIGURES),
    "conditional": Section(conditional.measure, conditional.FIGURES),
    "uses": Section(uses.measure, uses.FIGURES),
    "bulk": Section(bulk.measure, bulk.FIGURES),
    "logs": Section(uploads.measure, uploads.FIGURES),
    "redaction": Section(_redaction, redaction.FIGURES),
    "client": Section(python_client.measure, python_client.FIGURES),
    "engine": Section(
        _engine,
        (
            "engine.write.commit_each",
            "engine.write.one_transaction",
            "engine.write.engine",
            "engine.read.plain",
            "engine.read.engine",
        ),
    ),
    "guard": Section(
        _guard,
        [
            f"guard.{name}.{how}"
            for name in ("create", "reveal")
            for how in ("with", "without", "more")
        ],
    ),
    "depth": Section(depth.measure, depth.FIGURES),
    "search": Section(search.measure, search.FIGURES),
    "streams": Section(streams.measure, streams.FIGURES),
    "growth": Section(growth.measure, growth.FIGURES),
    "memory": Section(memory.measure_requests, memory.REQUEST_FIGURES),
    "import": Section(memory.measure_imports, memory.IMPORT_FIGURES),
    "parts": Section(costs.measure, ()),
}
"""All of them, in the order in which they are measured."""
