"""Faults of processes and of connections."""

import json
import signal
import socket
import struct
import time
from contextlib import closing
from pathlib import Path

from tests.faults.site import Site, Tally
from tests.faults.writes import Fate, Kind, Write
from tests.support.processes import PATIENCE, Serving, run

ROUNDS_PER_SITE = 20
"""After so many rounds a new installation is used, so that checks stay quick."""
LONGEST_ROUND = 0.5
"""The longest load before a fault, in seconds."""
GRACE = 10.0
"""Seconds within which a process ends after SIGTERM."""


def _sites(directory: Path, tally: Tally, rounds: int, seed: int) -> list[tuple[Site, int]]:
    """The installations, and the number of rounds for each."""
    return [
        (
            Site(directory / f"site-{first}", tally, seed + first),
            min(ROUNDS_PER_SITE, rounds - first),
        )
        for first in range(0, rounds, ROUNDS_PER_SITE)
    ]


def kill(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGKILL at a random moment under load."""
    for site, count in _sites(directory, tally, rounds, seed):
        for _ in range(count):
            with site.serving() as serving, site.load(serving) as load:
                site.pause(LONGEST_ROUND)
                serving.process.kill()
                load.wait()
                assert serving.finish() == -signal.SIGKILL
            site.check()
            tally.rounds += 1
        site.done()


def terminate(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGTERM at a random moment under load."""
    for site, count in _sites(directory, tally, rounds, seed):
        for _ in range(count):
            with site.serving() as serving, site.load(serving) as load:
                site.pause(LONGEST_ROUND)
                assert serving.end(within=GRACE) == 0
                load.wait()
            site.check()
            tally.rounds += 1
        site.done()


def second_process(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """A second `serve` on the data directory of a process that is under load."""
    site = Site(directory / "site", tally, seed)
    with site.serving() as serving, site.load(serving):
        for _ in range(rounds):
            arguments = ("serve", "--port", "0", "--data-dir", str(site.directory))
            outcome = run(*arguments, cwd=directory)
            assert outcome.status == 1
            assert f"process {serving.process.pid} " in outcome.complaint
            tally.rounds += 1
        assert serving.process.poll() is None
    site.done()


def disconnect(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """Clients that disconnect at a random byte of their request, or without waiting for the answer,
    while others are served."""
    site = Site(directory / "site", tally, seed)
    with site.serving() as serving:
        with site.load(serving):
            for _ in range(rounds):
                kind = site.chance.choice((Kind.PROJECT, Kind.LOGS))
                _leave(site, serving, site.ledger.intend(kind))
                tally.rounds += 1
        with serving.client() as client:
            assert client.get("/ready").status_code == 200
        assert serving.end(within=GRACE) == 0
        assert "unhandled" not in serving.err
    site.check()
    site.done()


def _leave(site: Site, serving: Serving, write: Write) -> None:
    """Send a write and disconnect: in half of the cases in the middle of the request."""
    method, path, body = write.request(0)
    content = json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {serving.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    message = head.encode() + content
    sent = site.chance.choice((len(message), site.chance.randrange(len(message))))
    if sent < len(message):
        # An incomplete request can't be carried out.
        write.fate = Fate.REFUSED
        site.tally.note("left in the middle of a request")
    else:
        site.tally.note("left before the answer")
    host, _, port = serving.url.removeprefix("http://").partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=PATIENCE)) as connection:
        connection.sendall(message[:sent])
        time.sleep(site.chance.choice((0, 0, site.chance.uniform(0, 0.02))))
        if site.chance.random() < 0.5:
            # A reset instead of an orderly end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
