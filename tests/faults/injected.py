"""System calls that fail or take long."""

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from tests.faults.disks import GOOD, ends_by_itself, remount, small_disk, wait_for_more
from tests.faults.history import History
from tests.faults.power import fail_at, holds
from tests.faults.site import Site, Skipped, Tally
from tests.faults.trace import ATTACHED_OPTIONS, read_trace
from tests.support.processes import Serving, run

STRACE = shutil.which("strace")
SLOW: tuple[tuple[str, dict[str, str]], ...] = (
    ("fdatasync:delay_enter=200ms", {}),
    ("pwrite64:delay_enter=20ms", {}),
    # Longer than a request may wait.
    ("fdatasync:delay_enter=1500ms", {"DB_QUEUE_TIMEOUT_SECONDS": "0.5"}),
)
"""The slow system call, and the settings of the process."""
SLOW_SECONDS = 2.5
QUICK = 1.0
"""Seconds within which every request that does not write is answered."""
TAKES = "delay_enter=50ms"
"""A failing disk takes its time, so that an answer that comes too early reaches the client."""
WRITING = "pwrite64,pwritev,ftruncate,fsync,fdatasync"


def sync_fails(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """fsync and fdatasync fail with EIO, once or from then on: written data is there as long as the
    system runs, and may be lost when it stops."""
    for number in range(rounds):
        site = Site(directory / f"site-{number}" / "data", tally, seed + number)
        site.directory.parent.mkdir()
        trace, before = directory / f"trace-{number}", directory / f"before-{number}"
        fault = f"fsync,fdatasync:error=EIO:{TAKES}:when={_when(site)}"
        with (
            site.serving() as serving,
            recording(serving, site.directory, trace, before, fault),
            site.load(serving) as load,
        ):
            ends_by_itself(site, serving, load.wait)
        history = History(site.directory, read_trace(trace), before)
        image = directory / f"image-{number}"
        holds(fail_at(site, history, history.length, image))
        site.check()
        site.done()
        tally.note("EIO")
        tally.rounds += 1
        for path in (image, before):
            shutil.rmtree(path)
        trace.unlink()


def _when(site: Site) -> str:
    """Which call of a thread fails first, and whether later ones fail, too."""
    return f"{site.chance.randrange(1, 60)}{site.chance.choice(('', '+'))}"


@contextlib.contextmanager
def recording(
    serving: Serving, directory: Path, trace: Path, before: Path, fault: str
) -> Iterator[None]:
    """Inside the block, system calls of the process fail, and its changes of the directory are
    recorded. The directory is copied to `before` first. Raises `Skipped` where strace can't do
    that."""
    shutil.copytree(directory, before)
    options = ("-o", str(trace), *ATTACHED_OPTIONS, "-e", f"inject={fault}")
    with _tracing(serving, options):
        yield


def write_fails(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """Writes to the files fail with EIO, or with EROFS as on a disk that has become read-only."""
    _call_fails(directory, tally, rounds, seed, ("pwrite64", ("EIO", "EROFS")))


def _call_fails(
    directory: Path, tally: Tally, rounds: int, seed: int, fault: tuple[str, tuple[str, ...]]
) -> None:
    calls, errors = fault
    for number in range(rounds):
        site = Site(directory / f"site-{number}", tally, seed + number)
        error = errors[number % len(errors)]
        with (
            site.serving() as serving,
            injecting(serving, f"{calls}:error={error}:{TAKES}:when={_when(site)}"),
            site.load(serving) as load,
        ):
            ends_by_itself(site, serving, load.wait)
        site.check()
        site.done()
        tally.note(error)
        tally.rounds += 1


@contextlib.contextmanager
def injecting(serving: Serving, fault: str) -> Iterator[None]:
    """Inside the block, system calls of the process fail. Raises `Skipped` where strace can't do
    that."""
    options = ("-f", "-o", os.devnull, "-e", f"inject={fault}")
    with _tracing(serving, (*options, "-e", f"trace={fault.partition(':')[0]}")):
        yield


@contextlib.contextmanager
def _tracing(serving: Serving, options: Sequence[str]) -> Iterator[None]:
    if STRACE is None:
        raise Skipped("there is no strace, and so no ptrace of a server")
    tracer = subprocess.Popen(
        [STRACE, *options, "-p", str(serving.process.pid)], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    try:
        said = tracer.stderr.readline()
        if "attached" not in said:
            raise Skipped(f"ptrace of a process is not possible: {said.strip()}")
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


def slow_disk(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """Writes or syncs take long: writes wait or are refused, and nothing else waits."""
    for number in range(rounds):
        site = Site(directory / f"site-{number}", tally, seed + number)
        fault, settings = SLOW[(seed + number) % len(SLOW)]
        with site.serving(settings) as serving:
            with site.load(serving), injecting(serving, fault), serving.client() as client:
                _others_are_quick(client, tally)
                wait_for_more(site, 1)
            statuses = site.ledger.statuses()
            assert set(statuses) <= {*GOOD, 503}, statuses
            tally.note("answers of 503", statuses[503])
            assert serving.end() == 0
        site.check()
        site.done()
        tally.rounds += 1


def _others_are_quick(client: httpx.Client, tally: Tally) -> None:
    until = time.monotonic() + SLOW_SECONDS
    while (began := time.monotonic()) < until:
        for path in ("/health", "/api/projects"):
            assert client.get(path).status_code == 200
        assert time.monotonic() - began < QUICK, "somebody waits for the disk who only reads"
        tally.note("answers meanwhile", 2)


def read_only_later(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """The file system becomes read-only while a process serves, as after an error of the disk: the
    process ends. It can't be started again until the file system is writable."""
    site = Site(directory / "disk", tally, seed)
    with small_disk(site.directory, 64):
        for _ in range(rounds):
            with site.serving() as serving, site.load(serving) as load:
                site.pause(0.3)
                # Linux refuses to remount a file system while a file on it is open for writing.
                with injecting(serving, f"{WRITING}:error=EROFS"):
                    ends_by_itself(site, serving, load.wait)
            remount(site.directory, "ro")
            arguments = ("serve", "--port", "0", "--data-dir", str(site.directory))
            outcome = run(*arguments, cwd=directory)
            assert outcome.status == 1
            assert re.search("can't be written|read-only", outcome.complaint, re.IGNORECASE)
            remount(site.directory, "rw")
            site.check()
            tally.rounds += 1
        site.done()
