"""An `EventSource` of Node and one of Chromium follow a service that is killed and started again
while changes go on: each event comes once, in order, and none is missing. `make browser` runs these
tests."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import HERE
from tests.browser.following import InNode, interrupt
from tests.browser.pages import served_pages
from tests.browser.restarts import Restarts
from tests.support.processes import PATIENCE

FOLLOW = """
url => {
  window.told = []
  window.source = new EventSource(url, {withCredentials: true})
  for (const kind of ["ready", "reset", "message"]) {
    source.addEventListener(kind, ({data, lastEventId}) => {
      told.push({kind, id: lastEventId, data: JSON.parse(data)})
    })
  }
}
"""
HAS_COME = """
id => {
  if (source.readyState === EventSource.CLOSED) throw new Error("the stream was refused")
  return told.some(({kind, data}) => kind === "message" && data.id >= id)
}
"""
SIGN_IN = """
async ([url, token]) => {
  const headers = {"Content-Type": "application/json"}
  const options = {method: "POST", headers, body: JSON.stringify({token}), credentials: "include"}
  return (await fetch(url, options)).status
}
"""


class InChromium:
    """A page that follows."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def wait_for(self, id: int) -> None:
        """As `Follower` says."""
        self._page.wait_for_function(HAS_COME, arg=id, timeout=1000 * PATIENCE)

    def told(self) -> list[dict[str, Any]]:
        """As `Follower` says."""
        told: list[dict[str, Any]] = self._page.evaluate("told")
        return told


@contextmanager
def following_in_node(node: str, service: Restarts) -> Iterator[InNode]:
    """An `EventSource` of the package `eventsource` that begins with the oldest event."""
    process = subprocess.Popen(
        [node, str(HERE / "follow.mjs"), f"{service.url}/api/events?after=0"],
        env={**os.environ, "STRONGROOM_TOKEN": service.token},
        stdout=subprocess.PIPE,
        text=True,
    )
    follower = InNode(process)
    try:
        yield follower
    finally:
        follower.end()


@contextmanager
def following_in_chromium(chromium: Any, service: Restarts, origin: str) -> Iterator[InChromium]:
    """An `EventSource` with the cookie of a session on a page of this origin."""
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(origin)
        assert page.evaluate(SIGN_IN, [f"{service.url}/api/session", service.token]) == 204
        page.evaluate(FOLLOW, f"{service.url}/api/events?after=0")
        yield InChromium(page)
    finally:
        context.close()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_node_is_told_each_event_once(node: str, tmp_path: Path, number: signal.Signals) -> None:
    with Restarts(tmp_path / "data") as service, following_in_node(node, service) as follower:
        interrupt(service, follower, number)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_chromium_is_told_each_event_once(
    chromium: Any, tmp_path: Path, number: signal.Signals
) -> None:
    with served_pages() as port:
        origin = f"http://127.0.0.1:{port}"
        with (
            Restarts(tmp_path / "data", CORS_ORIGINS=origin) as service,
            following_in_chromium(chromium, service, origin) as follower,
        ):
            interrupt(service, follower, number)
