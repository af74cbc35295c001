"""The faults in a short form; `make faults` tries each of them at length."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import environment
from tests.faults.__main__ import FAULTS

ROOT = Path(__file__).parent.parent.parent
GROUPS = 4
"""Each is tried in a process of its own: one that has mounted, and run commands, is of no more use
to others."""


@pytest.mark.parametrize("group", range(GROUPS))
def test_what_was_promised_holds_after_each_fault(group: int, subtests: pytest.Subtests) -> None:
    names = [fault.name for fault in FAULTS[group::GROUPS]]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--any-time", "--short", "--only", *names],
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    for name in names:
        with subtests.test(fault=name):
            found = re.search(rf"^{name}: (held|skipped): .*$", done.stdout, re.MULTILINE)
            assert found, done.stdout + done.stderr
            if found[1] == "skipped":
                pytest.skip(found[0])
