"""Runs `make faults` in its own mount namespace, if the system allows it.

That needs a second process, so the program is imported only there: the import takes a while.
"""

import os
import shutil
import subprocess
import sys

MOUNTS = "MOUNTS_OF_ITS_OWN"
"""A variable that says that the process has its own mount namespace."""


<<<<<<< HEAD
def _with_mounts_of_its_own() -> None:
    """Start again in a new mount namespace, or return if that is not possible or done already."""
=======
@dataclass(frozen=True)
class Fault:
    """One kind of fault. `run` raises `AssertionError` when a promise was broken, and `Skipped`
    when this machine can't try it."""

    name: str
    run: Callable[[Path, Tally, int, int], None]
    rounds: int
    """The number of rounds, unless another number is requested."""
    short: int = 1
    """The number of rounds in the short form."""


FAULTS = [
    Fault("kill", processes.kill, 200, short=2),
    Fault("power-loss", power.power_loss, 200),
    Fault("disconnect", processes.disconnect, 1000, short=100),
    Fault("slow-connections", connections.slow_connections, 20, short=2),
    Fault("terminate", processes.terminate, 20),
    Fault("open-streams", connections.open_streams, 5),
    Fault("second-process", processes.second_process, 5),
    Fault("kill-migration", work.migration, 20),
    Fault("kill-rotation", work.rotation, 20),
    Fault("kill-backup", copies.backup, 20),
    Fault("kill-restore", copies.restore, 20),
    Fault("kill-prune", work.prune, 10),
    Fault("kill-prune-audit", work.prune_audit, 10),
    Fault("disk-full", disks.disk_full, 5),
    Fault("file-limit", disks.file_limit, 5),
    Fault("sync-fails", injected.sync_fails, 10),
    Fault("write-fails", injected.write_fails, 10),
    Fault("slow-disk", injected.slow_disk, 6),
    Fault("no-descriptors", disks.no_descriptors, 5),
    Fault("read-only", disks.read_only, 3),
    Fault("read-only-later", injected.read_only_later, 5),
    Fault("log-damaged", damage.log_damaged, 12),
    Fault("page-damaged", damage.page_damaged, 50),
    Fault("clock", clock.clock_jumps, 5),
    Fault("wrong-keys", keys.wrong_keys, 20),
]


NOTICED = [
    ("answers-early", "sync-fails", 3),
    ("answers-early", "write-fails", 3),
    ("answers-early", "power-loss", 25),
    ("answers-early", "kill", 100),
    ("never-syncs", "power-loss", 25),
    ("loses-units", "kill", 1),
    ("loses-units", "terminate", 1),
    ("loses-units", "disk-full", 1),
    ("splits-units", "kill", 100),
    ("splits-units", "power-loss", 50),
    ("ignores-failed-commits", "disk-full", 3),
    ("forgets-the-audit", "kill", 1),
    ("forgets-the-audit", "terminate", 1),
]
"""Each deliberately broken promise with a fault that must notice it, and the number of rounds."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make faults",
        description="Breaks real servers under load, and holds what is left against what clients "
        "were told.",
    )
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="FAULT")
    parser.add_argument("--rounds", type=int, help="of each fault, in the place of its own number")
    parser.add_argument("--short", action="store_true", help="a few rounds, as in the tests")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument(
        "--any-time",
        action="store_true",
        help=f"do not fail when a start takes longer than {READY_WITHIN:.0f} seconds",
    )
    parser.add_argument(
        "--mutations",
        action="store_true",
        help="break promises on purpose, and fail when a fault does not notice",
    )
    parser.add_argument("--mutated", choices=MUTATIONS, help="break this one, whatever comes of it")
    parser.add_argument("--mounts-of-its-own", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _with_mounts_of_its_own(arguments: Sequence[str]) -> None:
    """Restart the program in its own mount namespace, if the system allows it."""
>>>>>>> keepaudit
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
