"""An interrupted first start leaves nothing that the next start refuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long_form)])
def test_a_first_start_that_is_cut_short_anywhere_is_followed_by_one_that_works(
    tmp_path: Path, every: int
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.runtime.first_starts", tmp_path, str(every)],
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # Among the steps: the directory, the lock, the database, the key, each migration, the token.
    assert int(run.stdout) >= 6
