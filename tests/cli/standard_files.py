"""The command with standard files that are closed, full, or limited to ASCII."""

import io
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.forked import Forked, run_script
from tests.support.processes import PATIENCE, Outcome


def run_with(case: str, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Outcome:
    """Run the command to its end in a process with the standard files of `case`: `closed`, `full`
    or `unbuffered full` and the name of one file, `ascii`, or nothing."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        function = partial(_run, case)
        with Forked(arguments, cwd=cwd, env=env, stdout=out, stderr=err, function=function) as run:
            status = run.wait(PATIENCE)
        out.seek(0)
        err.seek(0)
        return Outcome(status, out.read().decode(), err.read().decode())


def _run(case: str, arguments: Sequence[str]) -> int:
    # Python opens the standard files of a new process in the same way.
    encoding = "ascii" if case == "ascii" else "utf-8"
    standard: dict[str, Any] = {
        "stdin": os.fdopen(0, encoding="utf-8", closefd=False),
        "stdout": os.fdopen(1, "w", encoding=encoding, errors="strict", closefd=False),
        "stderr": os.fdopen(2, "w", encoding=encoding, errors="backslashreplace", closefd=False),
    }
    for number, name in enumerate(standard):
        if case == f"closed {name}":
            os.close(number)
            standard[name] = None
        if case.endswith(f"full {name}"):
            os.dup2(os.open("/dev/full", os.O_WRONLY), number)
        if case.startswith("unbuffered") and number:
            # With PYTHONUNBUFFERED there is no buffer between the text and the file.
            raw = io.FileIO(number, "w", closefd=False)
            standard[name] = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
        setattr(sys, name, standard[name])
        setattr(sys, f"__{name}__", standard[name])
    return run_script(arguments)
