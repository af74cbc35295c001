"""Runs `make faults` in its own mount namespace, if the system allows it.

That needs a second process, so the program is imported only there: the import takes a while.
"""

import os
import shutil
import subprocess
import sys

MOUNTS = "MOUNTS_OF_ITS_OWN"
"""A variable that says that the process has its own mount namespace."""


def _with_mounts_of_its_own() -> None:
    """Start again in a new mount namespace, or return if that is not possible or done already."""
    unshare = shutil.which("unshare")
    if os.environ.pop(MOUNTS, None) or unshare is None:
        return
    probe = [unshare, "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        os.environ[MOUNTS] = "yes"
        program = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        os.execv(unshare, [unshare, "-rm", *program])  # noqa: S606


if __name__ == "__main__":
    _with_mounts_of_its_own()
    from tests.faults.program import main

    sys.exit(main())
