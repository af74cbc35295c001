"""Files that changed after the service wrote them."""

import random
import signal
from collections.abc import Callable
from pathlib import Path

import httpx

from backend.runtime import HeadsFile
from tests.faults.disks import wait_until
from tests.faults.site import Site, Tally, command
from tests.faults.writes import Kind
from tests.support.processes import Serving

LOSS = "the audit has lost entries"
PAGE = 4096
WAL_HEADER = 32


def _deleted(file: Path, _: random.Random) -> None:
    file.unlink()


def _truncated(file: Path, chance: random.Random) -> None:
    with file.open("r+b") as stream:
        stream.truncate(chance.randrange(file.stat().st_size))


def _flipped(file: Path, chance: random.Random) -> None:
    at = chance.randrange(WAL_HEADER, file.stat().st_size)
    with file.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ (1 << chance.randrange(8))]))


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "deleted": _deleted,
    "truncated": _truncated,
    "flipped": _flipped,
}


def log_damaged(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """The write-ahead log is deleted, truncated or changed in one bit after a SIGKILL."""
    for number in range(rounds):
        site = Site(directory / f"site-{number}", tally, seed + number)
        with site.serving() as serving:
            assert serving.end() == 0
        with site.serving() as serving:
            with site.load(serving):
                site.pause(0.5)
            _write_last(site, serving)
            serving.process.kill()
            assert serving.finish() == -signal.SIGKILL
        name, damage = list(DAMAGES.items())[number % len(DAMAGES)]
        damage(site.directory / "strongroom.db-wal", site.chance)
        tally.note(name)
        _is_told(site, tally)
        site.add_up()
        tally.rounds += 1


def _write_last(site: Site, serving: Serving) -> None:
    """Make a write whose audit entry is covered by the exported head."""
    write = site.ledger.intend(Kind.PROJECT)
    method, path, body = write.request(0)
    with serving.client() as client:
        answer = client.request(method, path, json=body, headers={"X-Request-ID": write.mark})
        site.ledger.settle(write, answer.status_code)
        newest = _newest_entry(client)
    heads = HeadsFile(site.directory / "audit.heads")

    def exported() -> bool:
        head = heads.newest()
        return head is not None and head.id >= newest

    wait_until(exported, "the audit's head is never exported")


def _newest_entry(client: httpx.Client) -> int:
    answer = client.get("/api/audit", params={"limit": 1})
    assert answer.status_code == 200, answer.text
    entries = next(value for value in answer.json().values() if isinstance(value, list))
    return int(entries[0]["id"])


def _is_told(site: Site, tally: Tally) -> None:
    """Either nothing is missing, or both `verify` and the next start report a loss."""
    status, _, said = command("verify", "--data-dir", str(site.directory))
    if status == 0:
        site.check()
        tally.note("harmless")
        return
    assert status == 1, said
    tally.note("told")
    with Serving(site.directory) as serving:
        assert LOSS in serving.err, serving.err
        assert serving.end() == 0
    site.check_secrecy(serving.err.encode())


def page_damaged(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """All bits of one page of the database are flipped, while nothing runs."""
    site = Site(directory / "site", tally, seed)
    with site.serving() as serving:
        with site.load(serving):
            site.pause(0.5)
        assert serving.end() == 0
    site.check()
    file = site.directory / "strongroom.db"
    whole = file.read_bytes()
    for _ in range(rounds):
        first = site.chance.randrange(len(whole) // PAGE) * PAGE
        flipped = bytes(byte ^ 0xFF for byte in whole[first : first + PAGE])
        file.write_bytes(whole[:first] + flipped + whole[first + PAGE :])
        status, _, said = command("verify", "--data-dir", str(site.directory))
        if status == 0:
            # The page was not in use.
            with site.serving() as serving:
                assert serving.end() == 0
            site.check()
            tally.note("harmless")
        else:
            assert (status, said.count("\n")) == (1, 1), said
            assert said.startswith("strongroom: file: "), said
            tally.note("named")
        file.write_bytes(whole)
        tally.rounds += 1
    site.done()
