"""Measurements of Strongroom alone: the engine, guarded rows, depth, memory, imports, parts of a
request."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import depth, memory
from bench.contestants import ROOT
from bench.options import Options
from bench.processes import BenchError, environment
from bench.results import Results

Say = Callable[[str], None]


def measure_sections(options: Options, work: Path, results: Results, say: Say) -> None:
    """Measure the chosen sections in turn. A section that fails is added to the failures."""
    sections: dict[str, Callable[[Options, Path, Results], None]] = {
        "engine": _engine,
        "guard": _guard,
        "depth": depth.measure,
        "memory": memory.measure_requests,
        "import": memory.measure_imports,
        "parts": _parts,
    }
    for name, measure in sections.items():
        if name in options.only:
            say(f"measuring: {name}")
            folder = work / name
            folder.mkdir()
            try:
                measure(options, folder, results)
            except BenchError as error:
                # Continue, because the other sections took half an hour.
                results.failures.append(str(error))


def _engine(options: Options, folder: Path, results: Results) -> None:
    for _ in range(options.rounds):
        found = _child("bench.engine", folder, "--seconds", str(min(options.seconds, 3.0)))
        for name, value in found.items():
            results.figures.setdefault(name, []).append(float(value))


def _guard(options: Options, folder: Path, results: Results) -> None:
    rounds = 3 if options.quick else 10
    for _ in range(options.rounds):
        for name, value in _child("bench.guard", folder, "--rounds", str(rounds)).items():
            results.figures.setdefault(name, []).append(float(value))


def _parts(options: Options, folder: Path, results: Results) -> None:
    rounds = 3 if options.quick else 15
    results.parts = _child("bench.parts", folder, "--rounds", str(rounds))


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
