"""The faults in a short form; `make faults` tries each of them at length."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import environment
from tests.faults.__main__ import FAULTS, SKIPPED

ROOT = Path(__file__).parent.parent.parent
ROUNDS = {"kill": 3, "disconnect": 100, "terminate": 2, "slow-connections": 2}


@pytest.mark.parametrize("fault", [fault.name for fault in FAULTS])
def test_what_was_promised_holds_after(fault: str) -> None:
    # A process of its own: one that has mounted, and run commands, is of no more use to others.
    rounds = str(ROUNDS.get(fault, 1))
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--any-time", "--only", fault, "--rounds", rounds],
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode == SKIPPED:
        pytest.skip(next(line for line in done.stdout.splitlines() if ": skipped: " in line))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{fault}: held: " in done.stdout
