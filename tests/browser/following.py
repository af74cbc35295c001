"""What follows a stream, and a trial of it: each event comes once, in order, and none is missing,
while the service is killed and started again."""

import json
import signal
import subprocess
import threading
from typing import Any, Protocol

import httpx

from tests.browser.restarts import Restarts, changing
from tests.support.processes import PATIENCE

ROUNDS = 3


class Follower(Protocol):
    """An `EventSource` and what it was told."""

    def wait_for(self, id: int) -> None:
        """Wait for the event with this id, or a later one."""
        ...

    def told(self) -> list[dict[str, Any]]:
        """All messages so far, with their `kind`, `id` and `data`."""
        ...


class InNode:
    """Reads the lines of `follow.mjs`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._told: list[dict[str, Any]] = []
        self._more = threading.Condition()
        self._has_ended = False
        self._thread = threading.Thread(target=self._read, name="node", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self._told.append(json.loads(line))
                self._more.notify_all()
        with self._more:
            self._has_ended = True
            self._more.notify_all()

    def wait_for(self, id: int) -> None:
        """As `Follower` says."""
        with self._more:
            assert self._more.wait_for(lambda: self._has_ended or self._last() >= id, PATIENCE)
            assert not self._has_ended, "the stream was refused"

    def _last(self) -> int:
        ids = (one["data"]["id"] for one in reversed(self._told) if one["kind"] == "message")
        return next(ids, 0)

    def told(self) -> list[dict[str, Any]]:
        """As `Follower` says."""
        with self._more:
            return list(self._told)

    def end(self) -> None:
        """End Node and the thread."""
        self._process.kill()
        self._thread.join()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def listed(client: httpx.Client) -> list[dict[str, Any]]:
    """All events as the list has them."""
    events: list[dict[str, Any]] = []
    while page := client.get(
        "/api/events", params={"limit": 500, "after": events[-1]["id"] if events else 0}
    ).json()["events"]:
        events += page
    return events


def newest_id(service: Restarts) -> int:
    """The id of the newest event."""
    with service.client() as client:
        entries = client.get("/api/audit?limit=1").json()["entries"]
    return int(entries[0]["id"])


def interrupt(service: Restarts, follower: Follower, number: signal.Signals) -> None:
    """End the service some times while a client makes changes, and check what was told."""
    with changing(service) as changes:
        for _ in range(ROUNDS):
            # The stream is open in this life of the service, and the changes go on.
            follower.wait_for(newest_id(service) + 20)
            service.end(number)
            service.start()
        follower.wait_for(newest_id(service) + 20)
    assert changes.unanswered >= ROUNDS
    with service.client() as client:
        events = listed(client)
    follower.wait_for(events[-1]["id"])
    told = follower.told()
    assert [one["data"] for one in told if one["kind"] == "message"] == events
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert [one["id"] for one in told if one["kind"] == "message"] == [
        f"1-{event['id']}" for event in events
    ]
    kinds = [one["kind"] for one in told]
    assert kinds.count("ready") > ROUNDS
    assert kinds.count("reset") == 0
    made = {event["resource"] for event in events if event["kind"] == "project.created"}
    assert {f"projects/{id}" for id in changes.acknowledged} <= made
