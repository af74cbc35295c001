"""The memory that the server keeps after many requests, and the memory that an import takes."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from bench import wrk
from bench.client import Client, seed
from bench.contestants import BY_NAME, ROOT, strongroom_program
from bench.goals import CONNECTIONS
from bench.options import Options
from bench.processes import BenchError, environment, stop
from bench.results import Results
from bench.workloads import BY_NAME as WORKLOADS
from bench.workloads import PROJECTS

FEW_REQUESTS = 20_000
MANY_REQUESTS = 200_000
FEW_DOCUMENTS = 10_000
MANY_DOCUMENTS = 100_000
MOST_SECONDS = 60.0
"""The longest single load."""
REQUEST_FIGURES = tuple(
    f"memory.requests.{name}.{field}" for name in ("few", "many") for field in ("mib", "count")
)
IMPORT_FIGURES = tuple(
    f"memory.import.{name}.{field}" for name in ("few", "many") for field in ("mib", "per_second")
)


def measure_requests(options: Options, folder: Path, results: Results) -> None:
    """Measure the resident size after 20,000 and after 200,000 requests of every kind. Raises
    `BenchError`."""
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    few = round(FEW_REQUESTS * max(options.scale, 0.1))
    many = round(MANY_REQUESTS * max(options.scale, 0.1))
    with strongroom.running(data_dir) as server:
        token = strongroom.token(data_dir)
        with Client(server.port, token) as client:
            seed(client)
            logs = client.has(*WORKLOADS["log"].probe)
        mix = "all" if logs else "all_but_logs"
        sent = 0
        for name, number in (("few", few), ("many", many)):
            sent += _send(server.port, wrk.Requests(mix, token, PROJECTS), number - sent, results)
            results.figures[f"memory.requests.{name}.mib"] = [server.memory_mib("VmRSS")]
            results.figures[f"memory.requests.{name}.count"] = [float(sent)]


def _send(port: int, requests: wrk.Requests, number: int, results: Results) -> int:
    """Send at least this many requests, and few more. Returns their number. Raises
    `BenchError`."""
    sent = 0
    seconds = 1.0
    while sent < number:
        load = wrk.load(port, requests, connections=CONNECTIONS, seconds=seconds)
        if load.errors or not load.requests:
            results.failures.append(f"memory: {load.errors or 'no answer'}")
            break
        sent += load.requests
        # wrk accepts only a duration in whole seconds, not a number of requests.
        seconds = min(MOST_SECONDS, max(1.0, (number - sent) // load.per_second))
    return sent


def write_documents(path: Path, count: int) -> None:
    """Write a file of this many project documents, each with settings and a secret."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            document = {
                "name": f"Project {number}",
                "github_owner": f"owner-{number % 1000}",
                "github_repo": f"repository-{number}",
                "auto_merge_enabled": number % 2 == 0,
                "settings": {
                    "planning_statement": "Plan before coding, and keep every change small. " * 8,
                    "setup_commands": "npm ci && npm run build",
                    "branch_name": "main",
                },
                "secrets": {"API_KEY": f"a made-up value, number {number}"},
            }
            file.write(json.dumps(document) + "\n")


def measure_imports(options: Options, folder: Path, results: Results) -> None:
    """Measure the peak resident size of importing 10,000 and 100,000 documents. Raises
    `BenchError`."""
    program = strongroom_program()
    known = subprocess.run([program, "import", "--help"], capture_output=True, check=False)
    if known.returncode != 0:
        results.note("Strongroom does not have: import")
        return
    for name, documents in (("few", FEW_DOCUMENTS), ("many", MANY_DOCUMENTS)):
        count = round(documents * options.scale)
        file = folder / f"{name}.jsonl"
        write_documents(file, count)
        data_dir = folder / name
        seconds, mib = _imported(
            [program, "import", str(file), "--data-dir", str(data_dir)], folder
        )
        results.figures[f"memory.import.{name}.mib"] = [mib]
        results.figures[f"memory.import.{name}.per_second"] = [count / seconds]
        file.unlink()
        shutil.rmtree(data_dir)


def _imported(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command. Returns its duration in seconds and its peak memory in MiB."""
    output = folder / "import.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment(PYTHONPATH=str(ROOT)),
            start_new_session=True,
        )
    try:
        began = _now()
        _, status, usage = os.wait4(process.pid, 0)
        taken = _now() - began
    except BaseException:
        stop(process)
        raise
    code = os.waitstatus_to_exitcode(status)
    # `wait4` has reaped the process, so `Popen` can't find its exit code itself.
    process.returncode = code
    if code != 0:
        told = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        raise BenchError(f"the import failed ({told}): {output.read_text('utf-8')[-300:]}")
    return taken, usage.ru_maxrss / 1024


def _now() -> float:
    return os.times().elapsed
