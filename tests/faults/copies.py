"""SIGKILL while a backup is made, or while one is restored."""

import copy
import shutil
import signal
import threading
from pathlib import Path

import httpx

from tests.faults.site import Site, Tally, command
from tests.faults.work import kill_once, running
from tests.faults.writes import Fate
from tests.support.processes import run

HALF_MADE = ".strongroom-*.partial"
"""The name of something that is not complete yet."""


def backup(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGKILL of a server that makes a backup under load, and of the command that makes one."""
    site = Site(directory / "site", tally, seed)
    for number in range(rounds):
        if number % 2 == 0:
            made, known = _killed_serving(site)
        else:
            made, known = _killed_command(site, directory / f"backup-{number}.db")
        site.check()
        for name in made:
            _is_complete(site, name, known, directory / f"restored-{number}")
        tally.note("complete" if made else "not there")
        tally.rounds += 1
    with site.serving() as serving:
        with serving.client() as client:
            assert client.post("/api/backups").status_code == 201
        assert not _is_half_made(site.directory / "backups"), "leftovers stay"
        assert serving.end() == 0
    site.done()


Known = dict[int, Fate]
"""The fate of each write, as clients knew it when a backup began."""


def _known_now(site: Site) -> Known:
    return {write.number: write.fate for write in list(site.ledger.writes)}


def _killed_serving(site: Site) -> tuple[list[Path], Known]:
    """The finished backups, and what they must contain."""
    folder = site.directory / "backups"
    before = set(folder.glob("*.db"))
    with site.serving() as serving, site.load(serving) as load, serving.client() as client:
        site.pause(0.3)
        known = _known_now(site)
        asking = threading.Thread(target=_ask, args=(client,))
        asking.start()
        kill_once(serving.process, lambda: _is_half_made(folder), site, 0.08)
        asking.join()
        load.wait()
        assert serving.finish() == -signal.SIGKILL
    return sorted(set(folder.glob("*.db")) - before), known


def _ask(client: httpx.Client) -> None:
    try:
        client.post("/api/backups")
    except httpx.TransportError:
        # It was killed.
        return


def _is_half_made(folder: Path) -> bool:
    return any(folder.glob(HALF_MADE))


def _killed_command(site: Site, target: Path) -> tuple[list[Path], Known]:
    known = _known_now(site)
    with running("backup", target, "--data-dir", site.directory) as process:
        kill_once(process, lambda: _is_half_made(target.parent), site, 0.08)
    made = [target] if target.exists() else []
    if not made:
        # The next backup succeeds, and removes what was left.
        status, _, err = command("backup", str(target), "--data-dir", str(site.directory))
        assert status == 0, err
        assert not _is_half_made(target.parent)
    return made, known


def _is_complete(site: Site, made: Path, known: Known, directory: Path) -> None:
    """The backup can be restored, and contains everything that was acknowledged before it began."""
    restored = Site(directory, site.tally, site.chance.randrange(1 << 30))
    for write in site.ledger.writes:
        then = copy.copy(write)
        then.fate = known.get(write.number, Fate.UNKNOWN)
        restored.ledger.writes.append(then)
    directory.mkdir()
    shutil.copy(site.directory / "master.key", directory)
    status, _, err = command("restore", str(made), "--data-dir", str(directory))
    assert status == 0, err
    shutil.copy(site.directory / "admin.token", directory)
    with restored.serving() as serving:
        assert serving.end() == 0
    restored.check()
    shutil.rmtree(directory)


def restore(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGKILL while a backup is restored: the result is a whole installation or none."""
    site = Site(directory / "site", tally, seed)
    with site.serving() as serving:
        with site.load(serving):
            site.pause(0.5)
        assert serving.end() == 0
    source = directory / "backup.db"
    status, _, err = command("backup", str(source), "--data-dir", str(site.directory))
    assert status == 0, err
    for number in range(rounds):
        target = Site(directory / f"restored-{number}", tally, seed + number)
        target.ledger = site.ledger
        target.directory.mkdir()
        shutil.copy(site.directory / "master.key", target.directory)
        with running("restore", source, "--data-dir", target.directory) as process:
            begun = lambda: _is_half_made(target.directory)  # noqa: B023, E731
            kill_once(process, begun, target, 0.04)
        complete = (target.directory / "strongroom.db").exists()
        tally.note("restored" if complete else "nothing restored")
        if not complete:
            _is_nothing(target, source, directory)
        shutil.copy(site.directory / "admin.token", target.directory)
        with target.serving() as serving:
            assert serving.end() == 0
        target.check()
        shutil.rmtree(target.directory)
        tally.rounds += 1
    site.done()


def _is_nothing(target: Site, source: Path, directory: Path) -> None:
    """What was begun is no installation, and the same command completes it."""
    where = ("--data-dir", str(target.directory))
    status, _, err = command("verify", *where)
    assert (status, err.count("\n")) == (1, 1), err
    if _is_half_made(target.directory):
        outcome = run("serve", "--port", "0", *where, cwd=directory)
        assert outcome.status == 1
        assert "restore" in outcome.complaint
    status, _, err = command("restore", str(source), *where)
    assert status == 0, err
    assert not _is_half_made(target.directory)
