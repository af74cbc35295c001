"""A service that a real browser is signed in to, and pages of other origins."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from backend.main import create_app
from config.settings import Settings
from tests.browser.pages import served_pages
from tests.support.clients import token_of_first_start
from tests.support.http import all_rows, manager_of, new_project
from tests.support.servers import RunningServer

SENTINEL = "sentinel-of-the-service"

FETCH = """
async ([url, options]) => {
  try {
    const answer = await fetch(url, options)
    const {type, status, headers} = answer
    return {type, status, headers: Object.fromEntries(headers), text: await answer.text()}
  } catch (error) {
    return {type: "refused", status: 0, headers: {}, text: ""}
  }
}
"""
FORM = """
([url, method, enctype]) => {
  const frame = document.createElement("iframe")
  frame.name = "target"
  document.body.append(frame)
  const form = document.createElement("form")
  Object.assign(form, {action: url, method, enctype, target: "target"})
  const input = document.createElement("input")
  Object.assign(input, {name: '{"name": "forged", "x": "', value: '"}'})
  form.append(input)
  document.body.append(form)
  form.submit()
}
"""
ELEMENT = """
([tag, url]) => {
  const element = document.createElement(tag)
  if (tag === "link") Object.assign(element, {rel: "stylesheet", href: url})
  else if (tag === "object") element.data = url
  else element.src = url
  document.body.append(element)
}
"""
WEBSOCKET = """
url => new Promise(resolve => {
  const socket = new WebSocket(url)
  socket.addEventListener("open", () => resolve("open"))
  socket.addEventListener("error", () => resolve("failed"))
})
"""
BEACON = "url => { navigator.sendBeacon(url, new Blob(['{}'], {type: 'text/plain'})) }"
EVENTS = """
url => new Promise(resolve => {
  const source = new EventSource(url, {withCredentials: true})
  source.addEventListener("message", event => resolve(event.data))
  source.addEventListener("error", () => { source.close(); resolve("failed") })
})
"""


@dataclass
class World:
    """A service that the browser is signed in to, and pages of other origins."""

    browser: Any
    """A Playwright context with the session's cookie."""
    url: str
    permitted: str
    elsewhere: str
    """An origin of another site that is permitted too."""
    foreign: dict[str, str]
    """Origins that are not permitted, by what they are."""
    app: Any
    token: str

    def page(self, origin: str) -> Any:
        """A page of this origin."""
        page = self.browser.new_page()
        page.goto(f"{origin}/health" if origin == self.url else origin)
        return page

    def fetch(self, page: Any, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """What a script of the page gets."""
        sent = {"method": method, "credentials": "include", **options}
        if body is not None:
            sent["body"] = json.dumps(body)
            sent.setdefault("headers", {"Content-Type": "application/json"})
        return page.evaluate(FETCH, [self.url + path, sent])

    def answer(self, origin: str, url: str, script: str, arguments: Any) -> int | None:
        """The status of the answer to the request that a script on a new page causes; `None` when
        the browser keeps the answer from the page."""
        page = self.page(origin)
        with page.expect_request(url) as sent:
            page.evaluate(script, arguments)
        response = sent.value.response()
        page.close()
        return response.status if response is not None else None

    def rows(self) -> Any:
        """All stored rows, without the last uses of tokens."""
        rows = dict(all_rows(manager_of(self.app)))
        rows["api_tokens"] = [{**row, "last_used_at": None} for row in rows["api_tokens"]]
        return rows


def meant(**headers: str) -> dict[str, str]:
    """The headers of a page that means to change something."""
    return {"Content-Type": "application/json", "X-Strongroom-Request": "1", **headers}


@contextmanager
def signed_in(settings: Settings, chromium: Any) -> Iterator[World]:
    """The browser's session is the admin's, and there is one project with a secret."""
    with ExitStack() as stack:
        ports = [stack.enter_context(served_pages()) for _ in range(2)]
        permitted = f"http://127.0.0.1:{ports[0]}"
        elsewhere = f"http://localhost:{ports[0]}"
        origins = (permitted, elsewhere)
        app = create_app(settings.model_copy(update={"cors_origins": origins}))
        server = stack.enter_context(RunningServer(app))
        token = token_of_first_start(settings)
        with server.client(token) as client:
            body = new_project(name=SENTINEL, secrets=[{"key": "KEY", "value": SENTINEL}])
            assert client.post("/api/projects", json=body).status_code == 201
        # Scripts run on the service's own pages too, whose policy forbids them.
        browser = chromium.new_context(bypass_csp=True, accept_downloads=False)
        stack.callback(browser.close)
        foreign = {
            "the same site": f"http://127.0.0.1:{ports[1]}",
            "another site": f"http://localhost:{ports[1]}",
        }
        world = World(browser, server.url, permitted, elsewhere, foreign, app, token)
        page = world.page(server.url)
        answer = world.fetch(page, "POST", "/api/session", {"token": token})
        assert answer["status"] == 204
        [cookie] = browser.cookies()
        assert cookie["name"].endswith(f"_{server.address[1]}")
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert page.evaluate("document.cookie") == ""
        yield world
