"""The program `make faults`, which `__main__.py` starts."""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults import (
    clock,
    connections,
    copies,
    damage,
    disks,
    injected,
    keyed,
    keys,
    mutated,
    power,
    processes,
    work,
)
from tests.faults.mutated import MUTATIONS
from tests.faults.site import Site, Skipped, Tally
from tests.faults.writes import Fate

READY_WITHIN = 5.0
"""Seconds within which a process must be ready."""
SKIPPED = 77
"""The exit status when this machine can try none of the requested faults."""


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
    Fault("kill-keyed", keyed.kill_keyed, 50, short=2),
    Fault("power-loss", power.power_loss, 200),
    Fault("disconnect", processes.disconnect, 1000, short=100),
    Fault("slow-connections", connections.slow_connections, 20, short=2),
    Fault("terminate", processes.terminate, 20),
    Fault("open-streams", connections.open_streams, 5),
    Fault("unread-answers", connections.unread_answers, 5),
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
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _told(tally: Tally) -> str:
    parts = [f"{tally.rounds} rounds"]
    parts += [f"{tally.fates[fate]} {fate}" for fate in Fate]
    parts += [f"{count} {what}" for what, count in tally.notes.items()]
    return ", ".join([*parts, f"ready after at most {tally.slowest_start:.1f} s"])


def _mutate(mutation: str) -> None:
    Site.under = (sys.executable, "-P", mutated.__file__, mutation)
    Site.program = partial(mutated.run, mutation)


def _all_noticed(rows: Sequence[tuple[str, str, int]], seed: int) -> int:
    """The exit status: 1 when a fault did not notice a broken promise."""
    held = 0
    known = {fault.name: fault for fault in FAULTS}
    for mutation, name, rounds in rows:
        _mutate(mutation)
        tally = Tally()
        try:
            with tempfile.TemporaryDirectory(prefix="strongroom-faults-") as directory:
                known[name].run(Path(directory), tally, rounds, seed)
        except Skipped as reason:
            _say(f"{mutation}: {name}: skipped: {reason}")
        except AssertionError as error:
            told = str(error).partition("\n")[0][:160] or type(error).__name__
            # A server that does not start says nothing about the fault.
            noticed = tally.slowest_start > 0
            held += not noticed
            how = f"noticed in round {tally.rounds + 1}" if noticed else "DOES NOT START"
            _say(f"{mutation}: {name}: {how}: {told}")
        else:
            held += 1
            _say(f"{mutation}: {name}: NOT NOTICED in {tally.rounds} rounds")
    return int(held > 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the requested faults. Returns the exit status: 1 when a promise was broken."""
    options = _options(arguments)
    if options.mutations:
        wanted = {options.mutated} if options.mutated else set(MUTATIONS)
        return _all_noticed(
            [row for row in NOTICED if row[0] in wanted and row[1] in options.only], options.seed
        )
    if options.mutated:
        _mutate(options.mutated)
    failed = skipped = 0
    _say(f"seed {options.seed}")
    for fault in (fault for fault in FAULTS if fault.name in options.only):
        tally = Tally()
        with tempfile.TemporaryDirectory(prefix="strongroom-faults-") as directory:
            try:
                rounds = options.rounds or (fault.short if options.short else fault.rounds)
                fault.run(Path(directory), tally, rounds, options.seed)
            except Skipped as reason:
                skipped += 1
                _say(f"{fault.name}: skipped: {reason}")
                continue
            except Exception:  # noqa: BLE001 - the other faults are tried nevertheless
                failed += 1
                _say(f"{fault.name}: FAILED in round {tally.rounds + 1}")
                _say(traceback.format_exc())
                continue
        late = tally.slowest_start > READY_WITHIN and not options.any_time
        failed += late
        _say(f"{fault.name}: {'LATE' if late else 'held'}: {_told(tally)}")
    _say(f"{len(options.only)} faults: {failed} failed, {skipped} skipped")
    if failed:
        return 1
    return SKIPPED if skipped == len(options.only) else 0
