"""The short form of the faults; `make faults` tries each of them at length."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.mutated import MUTATIONS
from tests.faults.program import FAULTS, NOTICED
from tests.support.processes import environment

ROOT = Path(__file__).parent.parent.parent
FIRST = (
    ("kill", "kill-keyed", "disk-full"),
    ("power-loss", "sync-fails", "terminate"),
)
"""One of each kind, which `make test` tries. The faults are tried in their own processes, because
mounts and commands leave traces in a process. Each process takes two seconds to start."""
OTHERS = [fault.name for fault in FAULTS if not any(fault.name in names for names in FIRST)]


def _faults(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.faults", *arguments],
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "names",
    [
        FIRST[0],
        pytest.param(FIRST[1], marks=pytest.mark.long_form),
        pytest.param(OTHERS[::2], marks=pytest.mark.long_form),
        pytest.param(OTHERS[1::2], marks=pytest.mark.long_form),
    ],
    ids=["first", "second", "third", "fourth"],
)
def test_what_was_promised_holds_after_each_fault(
    names: Sequence[str], subtests: pytest.Subtests
) -> None:
    done = _faults("--any-time", "--short", "--only", *names)
    for name in names:
        with subtests.test(fault=name):
            found = re.search(rf"^{name}: (held|skipped): .*$", done.stdout, re.MULTILINE)
            assert found, done.stdout + done.stderr
            if found[1] == "skipped":
                pytest.skip(found[0])


@pytest.mark.long
@pytest.mark.parametrize(
    ("mutation", "fault"),
    [
        pytest.param("answers-early", "sync-fails", marks=pytest.mark.long_form),
        pytest.param("forgets-the-audit", "terminate", marks=pytest.mark.long_form),
    ],
)
def test_a_promise_that_is_broken_is_noticed(mutation: str, fault: str) -> None:
    assert (mutation, fault) in {row[:2] for row in NOTICED}
    done = _faults("--mutations", "--mutated", mutation, "--only", fault)
    found = re.search(rf"^{mutation}: {fault}: (noticed|skipped)", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    if found[1] == "skipped":
        pytest.skip(found[0])
    noticed = "was acknowledged, and|not all those of one of|changed outside the service"
    assert re.search(noticed, done.stdout), done.stdout


def test_each_fault_is_tried_once() -> None:
    assert sorted([*sum(FIRST, ()), *OTHERS]) == sorted(fault.name for fault in FAULTS)


def test_every_promise_that_can_be_broken_has_a_fault_that_notices() -> None:
    assert {mutation for mutation, _, _ in NOTICED} == set(MUTATIONS)
    assert {fault for _, fault, _ in NOTICED} <= {fault.name for fault in FAULTS}
