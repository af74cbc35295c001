"""Clients that write as fast as they are answered, each in its own thread."""

import random
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from tests.faults.ledger import Ledger
from tests.faults.writes import Fate, Kind, Write
from tests.support.clients import NO_TLS
from tests.support.processes import PATIENCE

CLIENTS = 4


@dataclass(slots=True)
class _Own:
    """A project that a client has made, and that only this client changes."""

    repository: str
    project_id: int
    waiting: int = 0
    """The number of runs that are not claimed yet."""
    claimed: list[int] = field(default_factory=list)


PURGES = 0.03
"""The share of a client's writes that purge its project."""


class Load:
    """Writes inside its block, until its clients have lost the server.

    The end of the block waits for pending answers. It raises any error of a client except a broken
    connection.
    """

    def __init__(
        self,
        url: str,
        token: str,
        ledger: Ledger,
        *,
        seed: int,
        clients: int = CLIENTS,
        without: Collection[Kind] = (),
    ) -> None:
        self._without = without
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._ledger = ledger
        self._stopped = threading.Event()
        self._under_way = [threading.Event() for _ in range(clients)]
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1000 + n), under_way))  # noqa: S311
            for n, under_way in enumerate(self._under_way)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        # The fault begins only when all clients are connected.
        for under_way in self._under_way:
            assert under_way.wait(PATIENCE), "a client was not answered"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self.wait()

    def wait(self) -> None:
        """Wait until each client has lost the server, or was told to stop."""
        for thread in self._threads:
            thread.join(2 * PATIENCE)
            assert not thread.is_alive(), "a client was never answered"
        if self._failures:
            raise self._failures[0]

    def _run(self, chance: random.Random, under_way: threading.Event) -> None:
        try:
            with httpx.Client(
                base_url=self._url, headers=self._headers, timeout=PATIENCE, verify=NO_TLS
            ) as client:
                self._write(client, chance, under_way)
        except httpx.TransportError:
            # The server is gone: the fate of the pending write stays unknown.
            pass
        except BaseException as error:  # noqa: BLE001
            self._failures.append(error)
        finally:
            under_way.set()

    def _write(
        self, client: httpx.Client, chance: random.Random, under_way: threading.Event
    ) -> None:
        own: _Own | None = None
        tokens: list[tuple[int, str]] = []
        while not self._stopped.is_set():
            if own is None:
                own = self._make_project(client)
                under_way.set()
                continue
            kind = self._next(own, tokens, chance)
            write = self._intend(kind, own, tokens)
            answer = self._send(client, write, own.project_id)
            if write.fate is Fate.ACKNOWLEDGED and answer.content:
                _note(own, tokens, write, answer.json())
            if kind is Kind.PURGE and write.fate is Fate.ACKNOWLEDGED:
                own = None

    def _next(self, own: _Own, tokens: Sequence[tuple[int, str]], chance: random.Random) -> Kind:
        """The client's next write, chosen from all that are possible now."""
        if chance.random() < PURGES:
            return Kind.PURGE
        possible = set(Kind) - {Kind.PURGE, *self._without}
        if not own.waiting:
            possible.discard(Kind.CLAIM)
        if not own.claimed:
            possible -= {Kind.TRANSITION, Kind.RESULTS}
        if not tokens:
            possible.discard(Kind.REVOCATION)
        return chance.choice(sorted(possible))

    def _intend(self, kind: Kind, own: _Own, tokens: list[tuple[int, str]]) -> Write:
        if kind is Kind.REVOCATION:
            target, of = tokens.pop()
            return self._ledger.intend(kind, target=target, of=of)
        if kind in (Kind.PROJECT, Kind.LOGS, Kind.TOKEN):
            return self._ledger.intend(kind)
        target = 0
        if kind in (Kind.TRANSITION, Kind.RESULTS):
            target = own.claimed.pop() if kind is Kind.TRANSITION else own.claimed[-1]
        return self._ledger.intend(kind, own.repository, target)

    def _make_project(self, client: httpx.Client) -> _Own | None:
        write = self._ledger.intend(Kind.PROJECT)
        answer = self._send(client, write, 0)
        if write.fate is not Fate.ACKNOWLEDGED:
            return None
        return _Own(write.repository, int(answer.json()["id"]))

    def _send(self, client: httpx.Client, write: Write, project_id: int) -> httpx.Response:
        method, path, body = write.request(project_id)
        try:
            answer = client.request(method, path, json=body, headers={"X-Request-ID": write.mark})
        except httpx.ConnectError:
            # It was never sent.
            write.fate = Fate.REFUSED
            raise
        self._ledger.settle(write, answer.status_code)
        return answer


def _note(own: _Own, tokens: list[tuple[int, str]], write: Write, made: dict[str, Any]) -> None:
    """Remember what was made, for later changes."""
    if write.kind is Kind.RUN:
        own.waiting += 1
    elif write.kind is Kind.CLAIM:
        own.waiting -= 1
        own.claimed.append(int(made["id"]))
    elif write.kind is Kind.TOKEN:
        tokens.append((int(made["id"]), write.mark))
