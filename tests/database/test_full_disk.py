"""A full disk: writes are refused with the right error, nothing is lost, and work continues once
there is space."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MOUNT = 'mount -t tmpfs -o size=3m tmpfs "$1" && exec "$2" -m tests.database.full_disk "$1"'


UNSHARE = shutil.which("unshare")


def _can_mount() -> bool:
    if UNSHARE is None:
        return False
    probe = [UNSHARE, "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="needs a file system of its own")
def test_a_full_disk_fails_what_can_not_be_stored_and_no_more(tmp_path: Path) -> None:
    assert UNSHARE is not None
    run = subprocess.run(
        [UNSHARE, "-rm", "sh", "-c", MOUNT, "sh", str(tmp_path), sys.executable],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "full": ["DatabaseFull"],
        "run again while full": ["DatabaseFull", "KeyError"],
        "said to be full": [True, False, True],
        "poisoned by a commit": False,
        "read while full": ["before"],
        "committed into the log": ["int"],
        "more than the log has room for": ["DatabaseFull"],
        "checkpoints while full": 0,
        "poisoned by a checkpoint": False,
        "truncated when there was room": True,
        "parts": 1,
        "names": ["before", "between"],
    }
    assert "a checkpoint failed: SQLITE_FULL" in run.stderr
