"""The program: `make bench`."""

import platform
import shlex
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench import goals, machine, report, wrk
from bench.comparison import Comparison
from bench.contestants import BY_NAME, CACHE, ROOT, Contestant
from bench.options import Options, parse
from bench.processes import BenchError
from bench.results import Results
from bench.sections import measure_sections

PREFIX = "strongroom-bench-"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # Like Ctrl-C, so that every server is stopped on the way out.
    raise KeyboardInterrupt


def _ready(options: Options, results: Results) -> list[Contestant]:
    """The chosen servers that can be started on this machine."""
    ready = []
    for name in options.peers:
        contestant = BY_NAME[name]
        why = contestant.prepare()
        if why is None:
            ready.append(contestant)
        else:
            results.note(f"{contestant.title} is left out: {why}")
            _say(results.notes[-1])
    return ready


def measure(options: Options, work: Path) -> Results:
    """Measure everything that the options select. Raises `BenchError`."""
    results = Results(
        command=shlex.join(["make", "bench", *_given()]),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine.machine(work),
        versions={**machine.versions(), "wrk": wrk.version()},
    )
    for name in ("node", "npm"):
        results.versions[name] = machine.program_version(name) or "not installed"
    comparison = Comparison(options, work, results, _say)
    contestants = _ready(options, results) if options.workloads else []
    _say(f"about {comparison.seconds(len(contestants)) / 60:.0f} minutes for the comparison")
    comparison.run(contestants)
    measure_sections(options, work, results, _say)
    return results


def _given() -> list[str]:
    arguments = shlex.join(sys.argv[1:])
    return [f"ARGS={arguments}"] if arguments else []


def main() -> int:
    """Run and report. The exit status shows whether the API is fast enough."""
    options = parse()
    if options.report is not None:
        results = Results.read(options.report)
    else:
        if platform.system() != "Linux":
            raise BenchError("the benchmark reads /proc, so it needs Linux")
        wrk.version()
        signal.signal(signal.SIGTERM, _interrupt)
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=options.work) as work:
            results = measure(options, Path(work))
    folder = _folder(options)
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "performance.json")
    report.write(results, folder)
    print(report.as_text(results))
    return _status(results)


def _folder(options: Options) -> Path:
    """Where the report goes. Only a complete run writes it into the documentation."""
    if options.output is not None:
        return options.output
    if options.report is not None:
        return options.report.parent
    return ROOT / "docs" if options.is_complete else CACHE / "last"


def _status(results: Results) -> int:
    wrong = results.failures + goals.too_slow(results.metrics())
    for sentence in wrong:
        print(f"bench: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
