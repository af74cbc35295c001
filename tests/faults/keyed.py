"""SIGKILL between the effects of requests with idempotency keys and their answers."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from database.sqlite import writer
from tests.faults.site import Site, Tally
from tests.faults.writes import Fate, Kind, Write
from tests.support.clients import NO_TLS
from tests.support.forked import run_strongroom
from tests.support.processes import PATIENCE

CLIENTS = 4
LATE_SECONDS = 0.03
"""How late the answers are, so that most kills come between an effect and its answer."""
LONGEST_ROUND = 0.5
"""The longest load before a kill, in seconds."""
ROUNDS_PER_SITE = 10


@dataclass(slots=True)
class _Sent:
    """A request with a key, and what came back."""

    write: Write
    project_id: int
    answers: list[httpx.Response] = field(default_factory=list)

    def send(self, client: httpx.Client) -> httpx.Response:
        """Send it, each time with the same key. Raises `httpx.TransportError`."""
        method, path, body = self.write.request(self.project_id)
        mark = self.write.mark
        headers = {"Idempotency-Key": mark, "X-Request-ID": mark}
        self.answers.append(client.request(method, path, json=body, headers=headers))
        return self.answers[-1]


class _Client:
    """Sends requests with keys, one after another, until the server is gone."""

    def __init__(self, site: Site, url: str, token: str) -> None:
        self._site = site
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self.sent: list[_Sent] = []
        self.failure: BaseException | None = None
        self.under_way = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with httpx.Client(
                base_url=self._url, headers=self._headers, timeout=PATIENCE, verify=NO_TLS
            ) as client:
                while True:
                    self._write(client)
        except httpx.TransportError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised by the test
            self.failure = error
        finally:
            self.under_way.set()

    def _write(self, client: httpx.Client) -> None:
        project = self._send(client, self._site.ledger.intend(Kind.PROJECT), 0)
        self.under_way.set()
        repository = self.sent[-1].write.repository
        for kind in (Kind.RUN, Kind.CLAIM, Kind.WEBHOOK):
            self._send(client, self._site.ledger.intend(kind, repository), project["id"])
        self._send(client, self._site.ledger.intend(Kind.TOKEN), 0)

    def _send(self, client: httpx.Client, write: Write, project_id: int) -> Any:
        sent = _Sent(write, project_id)
        self.sent.append(sent)
        answer = sent.send(client)
        self._site.ledger.settle(write, answer.status_code)
        assert answer.is_success, answer.text
        return answer.json()


def answer_late(arguments: Sequence[str]) -> int:
    """Run the command; answers to writes come some time after their COMMIT."""
    at_once: Callable[[Any], None] = writer._deliver

    def deliver(batch: Any) -> None:
        time.sleep(LATE_SECONDS)
        at_once(batch)

    writer._deliver = deliver
    return run_strongroom(arguments)


def kill_keyed(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGKILL between effects and answers under load; the same requests are sent again with their
    keys after the next start."""
    for first in range(0, rounds, ROUNDS_PER_SITE):
        site = Site(directory / f"site-{first}", tally, seed + first)
        for _ in range(min(ROUNDS_PER_SITE, rounds - first)):
            clients = _killed(site)
            with site.serving() as serving, serving.client() as client:
                for sent in (one for keyed in clients for one in keyed.sent):
                    _repeat(site, sent, client)
                assert serving.end() == 0
            site.check()
            tally.rounds += 1
        site.done()


def _killed(site: Site) -> list[_Client]:
    """The clients of a server that was killed under their load."""
    with site.serving(program=answer_late) as serving, site.load(serving) as load:
        clients = [_Client(site, serving.url, serving.token) for _ in range(CLIENTS)]
        for client in clients:
            client.thread.start()
        for client in clients:
            assert client.under_way.wait(PATIENCE), "a client was not answered"
        site.pause(LONGEST_ROUND)
        serving.process.kill()
        load.wait()
        for client in clients:
            client.thread.join(PATIENCE)
            assert not client.thread.is_alive(), "a client was never answered"
            if client.failure is not None:
                raise client.failure
        assert serving.finish() == -signal.SIGKILL
    return clients


def _repeat(site: Site, sent: _Sent, client: httpx.Client) -> None:
    """Send a request again: it has one effect, and always the same answer."""
    was_answered = bool(sent.answers)
    again = sent.send(client)
    assert again.is_success, again.text
    assert again.status_code != 204, "the run of a claim is lost"
    is_replayed = "idempotency-replayed" in again.headers
    if was_answered:
        assert is_replayed, f"{sent.write.mark} had a second effect"
    elif is_replayed:
        site.tally.note("lost answers that came again")
    else:
        site.tally.note("requests without effect that were made again")
    site.ledger.settle(sent.write, again.status_code)
    third = sent.send(client)
    assert "idempotency-replayed" in third.headers
    for answer in sent.answers:
        assert answer.content == again.content, f"{sent.write.mark} has two answers"
        assert answer.status_code == again.status_code
        assert answer.headers.get("location") == again.headers.get("location")
    if sent.write.kind is Kind.TOKEN:
        headers = {"Authorization": f"Bearer {again.json()['token']}"}
        assert client.get("/api/projects?limit=1", headers=headers).status_code == 200
    assert sent.write.fate is Fate.ACKNOWLEDGED
