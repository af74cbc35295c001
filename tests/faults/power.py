"""Loss of power: of the unsynced writes, all, half of one, or some are lost."""

import copy
import os
import shutil
import subprocess
from pathlib import Path

from tests.faults.damage import LOSS
from tests.faults.history import History
from tests.faults.images import Disk
from tests.faults.ledger import Ledger
from tests.faults.site import Site, Skipped, Tally
from tests.faults.trace import STRACE_OPTIONS, read_trace
from tests.faults.writes import Fate

IMAGES = 25
"""Images made from one recording."""
LONGEST_LOAD = 3.0
"""The longest load in a recording, in seconds."""
STRACE = shutil.which("strace")


def power_loss(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """The power fails at any moment between an installation's first start and its end."""
    for first in range(0, rounds, IMAGES):
        recorded = Site(directory / f"recording-{first}" / "site", tally, seed + first)
        history = record(recorded, brief=rounds < IMAGES)
        if first == 0:
            _can_fail(recorded, history, directory / "nothing-synced")
        for number in range(first, min(rounds, first + IMAGES)):
            at = _moment(recorded, history)
            image = directory / f"image-{number}"
            site = fail_at(recorded, history, at, image)
            holds(site)
            site.add_up()
            tally.rounds += 1
            shutil.rmtree(image)
        shutil.rmtree(recorded.directory.parent)


def record(site: Site, *, brief: bool) -> History:
    """Record a process from its first start, under load, to its end. Raises `Skipped`, and
    `UnreadableTrace` when the trace can't be understood."""
    if STRACE is None:
        raise Skipped("there is no strace, and so no ptrace of a server")
    probe = [STRACE, "-o", os.devnull, *STRACE_OPTIONS, "true"]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise Skipped(f"ptrace of a process is not possible: {tried.stderr.strip()}")
    parent = site.directory.parent
    parent.mkdir()
    trace = parent / "trace"
    # With `-D` the server stays a child of this process. The tracer keeps the server's standard
    # output open, so its end is also the end of the trace.
    under = (STRACE, "-D", "-o", str(trace), *STRACE_OPTIONS)
    with site.serving(under=under) as serving:
        with site.load(serving):
            site.pause(0.3 if brief else LONGEST_LOAD)
        assert serving.end() == 0
    history = History(site.directory, read_trace(trace))
    told = {write.mark for write in site.ledger.writes if write.fate is Fate.ACKNOWLEDGED}
    assert told <= history.answers.keys(), "the trace lacks answers that clients have"
    return history


def _moment(site: Site, history: History) -> int:
    """The line where the power fails: in half of the cases just after an acknowledgement."""
    chance = site.chance
    if chance.random() < 0.5:
        began = chance.choice([at for status, at in history.answers.values() if status < 300])
        return began + 1
    return chance.randrange(history.first, history.length + 1)


def fail_at(recorded: Site, history: History, at: int, image: Path, *, syncs: bool = True) -> Site:
    """The installation that is left when the power fails at this line of the trace, with the
    answers that clients had received until then."""
    image.mkdir()
    disk = Disk(history, at, recorded.chance, syncs=syncs)
    disk.write(image)
    site = Site(image / recorded.directory.name, recorded.tally, recorded.chance.randrange(1 << 30))
    site.ledger = _known_at(recorded.ledger, history, at)
    recorded.tally.note("changes missing", disk.missing)
    recorded.tally.note("writes torn", disk.torn)
    return site


def _known_at(ledger: Ledger, history: History, at: int) -> Ledger:
    known = Ledger()
    for write in ledger.writes:
        then = copy.copy(write)
        then.fate, then.status = Fate.UNKNOWN, None
        status, began = history.answers.get(write.mark, (0, at))
        known.writes.append(then)
        if began < at:
            known.settle(then, status)
    return known


def holds(site: Site) -> None:
    """The service starts with what is left, has lost nothing that it acknowledged, and
    continues."""
    with site.serving() as serving:
        assert LOSS not in serving.err, serving.err
        with site.load(serving):
            pass
        assert serving.end() == 0
    site.check()


def _can_fail(recorded: Site, history: History, image: Path) -> None:
    """Without any sync, acknowledged writes would be lost, and the checks would find that."""
    site = fail_at(recorded, history, history.length, image, syncs=False)
    assert site.ledger.count()[Fate.ACKNOWLEDGED]
    found = ""
    try:
        holds(site)
    except AssertionError as error:
        found = str(error)
    assert "was acknowledged, and" in found, "writes that were never synced are not missed"
