"""Faults of disks, and limits that a system sets."""

import contextlib
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import create_connection

from tests.database.full_disk import Disk
from tests.faults.site import Site, Skipped, Tally
from tests.faults.writes import Fate
from tests.support.processes import PATIENCE, Serving, run

NO_MOUNT = "mount is not permitted: it needs root or a user namespace (unshare)"
GOOD = {200, 201, 204}
FULL = 507


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[None]:
    """A separate file system at `directory`. Raises `Skipped` where nothing can be mounted."""
    directory.mkdir()
    options = f"size={megabytes}m,mode=700"
    mount = _tool("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory))
    if mount.returncode != 0:
        raise Skipped(NO_MOUNT)
    try:
        yield
    finally:
        _tool("umount", str(directory)).check_returncode()


def _tool(name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    path = shutil.which(name)
    if path is None:
        raise Skipped(f"there is no {name}")
    return subprocess.run([path, *arguments], capture_output=True, check=False)


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Poll for a condition that sends no notification."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def wait_for_more(site: Site, count: int = 10) -> None:
    """Wait until `count` more writes are acknowledged."""
    before = site.ledger.count()[Fate.ACKNOWLEDGED]
    wait_until(
        lambda: site.ledger.count()[Fate.ACKNOWLEDGED] >= before + count,
        "nothing is written any more",
    )


def disk_full(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """The disk is full under load, and then has space again, in one process."""
    for number in range(rounds):
        site = Site(directory / f"disk-{number}", tally, seed + number)
        with small_disk(site.directory, 32):
            _fill_and_free(site)
            site.check()
            site.done()
        tally.rounds += 1


def _fill_and_free(site: Site) -> None:
    disk = Disk(site.directory)
    statuses = site.ledger.statuses
    with site.serving() as serving:
        with site.load(serving), serving.client() as client:
            site.pause(0.5)
            disk.fill()
            wait_until(lambda: statuses()[FULL] > 20, "the disk is never full")
            assert client.get("/api/projects").status_code == 200
            disk.free()
            wait_for_more(site)
            ready = client.get("/ready")
            assert ready.status_code == 200, ready.text
        assert set(statuses()) <= {*GOOD, FULL}
        site.tally.note("answers of 507", statuses()[FULL])
        assert serving.end() == 0


def file_limit(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """A limit on the size of files (RLIMIT_FSIZE) is reached under load."""
    for number in range(rounds):
        site = Site(directory / f"site-{number}", tally, seed + number)
        with site.serving() as serving, site.load(serving) as load:
            site.pause(0.5)
            log = site.directory / "strongroom.db-wal"
            _limit(serving, resource.RLIMIT_FSIZE, log.stat().st_size)
            ends_by_itself(site, serving, load.wait)
        site.check()
        site.done()
        tally.rounds += 1


def no_descriptors(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """For a while, no more files or connections can be opened (RLIMIT_NOFILE), under load."""
    site = Site(directory / "site", tally, seed)
    with site.serving() as serving:
        with site.load(serving), serving.client() as known:
            assert known.get("/health").status_code == 200
            for _ in range(rounds):
                taken = [int(name) for name in os.listdir(f"/proc/{serving.process.pid}/fd")]  # noqa: PTH208
                before = resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE)
                _limit(serving, resource.RLIMIT_NOFILE, len(taken))
                refused = sum(_is_refused(serving) for _ in range(20))
                assert refused
                tally.note("connections refused", refused)
                wait_for_more(site)
                assert known.get("/ready").status_code == 200
                resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE, before)
                with serving.client() as client:
                    assert client.get("/ready").status_code == 200
                tally.rounds += 1
        assert set(site.ledger.statuses()) <= GOOD
        assert serving.end() == 0
    site.check()
    site.done()


def _is_refused(serving: Serving) -> bool:
    host, _, port = serving.url.removeprefix("http://").partition(":")
    with closing(create_connection((host, int(port)), timeout=1)) as connection:
        try:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return not connection.recv(1)
        except (ConnectionError, TimeoutError):
            return True


def _limit(serving: Serving, which: int, soft: int) -> None:
    _, hard = resource.prlimit(serving.process.pid, which)
    resource.prlimit(serving.process.pid, which, (soft, hard))


def ends_by_itself(site: Site, serving: Serving, wait: Callable[[], None]) -> None:
    """A process that does not know what was written answers no more requests, and ends with a
    failure."""
    wait()
    assert serving.finish() == 1
    assert "the database can't be written: ending" in serving.err
    # An error is a promise as well: the ledger checks that the write had no effect.
    assert set(site.ledger.statuses()) <= {*GOOD, None, 500, 503}


def read_only(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """A start on a file system that is mounted read-only, then writable again."""
    site = Site(directory / "disk", tally, seed)
    with small_disk(site.directory, 64):
        for _ in range(rounds):
            with site.serving() as serving, site.load(serving):
                site.pause(0.2)
                serving.process.kill()
                serving.finish()
            remount(site.directory, "ro")
            arguments = ("serve", "--port", "0", "--data-dir", str(site.directory))
            outcome = run(*arguments, cwd=directory)
            assert outcome.status == 1
            assert re.search("can't be written|read-only", outcome.complaint, re.IGNORECASE)
            remount(site.directory, "rw")
            site.check()
            tally.rounds += 1
        site.done()


def remount(directory: Path, mode: str) -> None:
    _tool("mount", "-o", f"remount,{mode}", str(directory)).check_returncode()
