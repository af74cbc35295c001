"""Clients that write as fast as they are answered, each in a thread of its own."""

import random
import threading
from types import TracebackType
from typing import Self

import httpx

from tests.cli.support import NO_TLS, PATIENCE
from tests.faults.ledger import Fate, Kind, Ledger, Write

CLIENTS = 4


class Load:
    """Writes while its block runs, and until its clients have lost the server.

    Leaving the block waits for the answers that are under way, and raises what a client met that
    is neither an answer nor a broken connection.
    """

    def __init__(
        self, url: str, token: str, ledger: Ledger, *, seed: int, clients: int = CLIENTS
    ) -> None:
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
        # A fault meets clients that are all connected.
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
            # The server is gone: what was under way stays unknown.
            pass
        except BaseException as error:  # noqa: BLE001
            self._failures.append(error)
        finally:
            under_way.set()

    def _write(
        self, client: httpx.Client, chance: random.Random, under_way: threading.Event
    ) -> None:
        own: tuple[str, int] | None = None
        while not self._stopped.is_set():
            if own is None:
                own = self._make_project(client)
                under_way.set()
                continue
            kind = chance.choice(tuple(Kind))
            write = self._ledger.intend(kind, own[0] if kind is Kind.SECRETS else "")
            self._send(client, write, own[1])

    def _make_project(self, client: httpx.Client) -> tuple[str, int] | None:
        write = self._ledger.intend(Kind.PROJECT)
        answer = self._send(client, write, 0)
        if write.fate is not Fate.ACKNOWLEDGED:
            return None
        return write.repository, int(answer.json()["id"])

    def _send(self, client: httpx.Client, write: Write, project_id: int) -> httpx.Response:
        method, path, body = write.request(project_id)
        try:
            answer = client.request(method, path, json=body, headers={"X-Request-ID": write.mark})
        except httpx.ConnectError:
            # Never sent.
            write.fate = Fate.REFUSED
            raise
        self._ledger.settle(write, answer.status_code)
        return answer
