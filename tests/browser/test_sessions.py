"""Sessions in a real browser: what pages of other origins can do with its cookie.

The service is at a port of 127.0.0.1. A page at another port of 127.0.0.1 has another origin but is
of the same site, so the browser adds the cookie to its requests. A page at `localhost` is of
another site. `make browser` runs these tests.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from backend.main import create_app
from config.settings import Settings
from tests.browser.pages import served_pages
from tests.support.clients import token_of_first_start
from tests.support.http import all_rows, manager_of, new_project
from tests.support.servers import RunningServer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SENTINEL = "sentinel-of-the-service"

FETCH = """
async ([url, options]) => {
  try {
    const answer = await fetch(url, options)
    return {type: answer.type, status: answer.status, text: await answer.text()}
  } catch (error) {
    return {type: "refused", status: 0, text: ""}
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


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    """The browser's session is the admin's, and there is one project with a secret."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: run make browser"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium was found: install it (on Debian: apt install chromium)")
    with ExitStack() as stack:
        ports = [stack.enter_context(served_pages()) for _ in range(2)]
        permitted = f"http://127.0.0.1:{ports[0]}"
        app = create_app(settings.model_copy(update={"cors_origins": (permitted,)}))
        server = stack.enter_context(RunningServer(app))
        token = token_of_first_start(settings)
        with server.client(token) as client:
            body = new_project(name=SENTINEL, secrets=[{"key": "KEY", "value": SENTINEL}])
            assert client.post("/api/projects", json=body).status_code == 201
        playwright = stack.enter_context(sync_api.sync_playwright())
        chromium = playwright.chromium.launch(
            # Chromium's own sandbox needs rights that containers and root do not have.
            executable_path=CHROMIUM,
            args=["--no-sandbox"],
        )
        stack.callback(chromium.close)
        # Scripts run on the service's own pages too, whose policy forbids them.
        browser = chromium.new_context(bypass_csp=True, accept_downloads=False)
        foreign = {
            "the same site": f"http://127.0.0.1:{ports[1]}",
            "another site": f"http://localhost:{ports[1]}",
        }
        world = World(browser, server.url, permitted, foreign, app, token)
        page = world.page(server.url)
        answer = world.fetch(page, "POST", "/api/session", {"token": token})
        assert answer["status"] == 204
        [cookie] = browser.cookies()
        assert cookie["name"].endswith(f"_{server.address[1]}")
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert page.evaluate("document.cookie") == ""
        yield world


def meant(**headers: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "X-Strongroom-Request": "1", **headers}


@pytest.mark.long
def test_own_and_permitted_pages_read_and_write_with_the_session(world: World) -> None:
    for origin in (world.url, world.permitted):
        page = world.page(origin)
        read = world.fetch(page, "GET", "/api/projects")
        assert read["status"] == 200, (origin, read)
        assert SENTINEL in read["text"]
        without = world.fetch(page, "PATCH", "/api/projects/1", {"name": "no"})
        assert without["status"] == 403
        assert "X-Strongroom-Request: 1" in without["text"]
        written = world.fetch(
            page, "PATCH", "/api/projects/1", {"name": f"{SENTINEL} {origin}"}, headers=meant()
        )
        assert written["status"] == 200, written
        assert origin in world.fetch(page, "GET", "/api/projects/1")["text"]
    page = world.page(world.permitted)
    ended = world.fetch(page, "DELETE", "/api/session", headers=meant())
    assert ended["status"] == 204
    assert world.browser.cookies() == []
    assert world.fetch(page, "GET", "/api/session")["status"] == 401


@pytest.mark.long
@pytest.mark.parametrize("kind", ["the same site", "another site"])
def test_a_foreign_page_changes_nothing_and_reads_nothing(world: World, kind: str) -> None:
    origin = world.foreign[kind]
    page = world.page(origin)
    before = world.rows()
    project, value = "/api/projects/1", "/api/projects/1/secrets/KEY/value"
    seen: list[Any] = []
    plain = {"Content-Type": "text/plain"}
    for mode in ("cors", "no-cors"):
        seen += [
            world.fetch(page, "GET", path, mode=mode)
            for path in ("/api/projects", "/api/me", "/api/session", value)
        ]
        seen += [
            world.fetch(page, "POST", path, new_project(), mode=mode, headers=plain)
            for path in ("/api/projects", "/api/session", "/api/tokens")
        ]
    seen += [
        world.fetch(page, method, project, {"name": "forged"}, headers=meant())
        for method in ("POST", "PUT", "PATCH", "DELETE")
    ]
    seen.append(world.fetch(page, "DELETE", "/api/session", headers=meant()))
    seen.append(world.fetch(page, "POST", "/api/session", {"token": world.token}))
    for answer in seen:
        assert answer["type"] in ("refused", "opaque"), answer
        assert (answer["status"], answer["text"]) == (0, "")
    # A page can't always tell when a frame or an image has got an answer, but the browser can.
    refusals = {401, 403, 415}
    for enctype in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        for path in ("/api/projects", "/api/session", "/api/keys/rotate", "/api/backups"):
            url = world.url + path
            assert world.answer(origin, url, FORM, [url, "post", enctype]) in refusals
    for tag in ("img", "script", "link", "object", "iframe", "video"):
        url = world.url + value
        assert world.answer(origin, url, ELEMENT, [tag, url]) in {None, 401, 403}, tag
    assert page.evaluate(WEBSOCKET, world.url.replace("http", "ws") + "/api/projects") == "failed"
    assert page.evaluate(EVENTS, world.url + "/api/projects") == "failed"
    assert world.rows() == before
    assert len(world.browser.cookies()) == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", ["the same site", "another site"])
def test_a_link_on_a_foreign_page_shows_and_changes_nothing(world: World, kind: str) -> None:
    page = world.page(world.foreign[kind])
    before = world.rows()
    target = f"{world.url}/api/projects/1/secrets/KEY/value"
    # The browser may show the answer or offer to save it, which ends no navigation.
    with page.expect_response(target) as answered:
        page.evaluate("url => { setTimeout(() => { window.location = url }) }", target)
    # A page of the same site sends the cookie, and its requests are told by their headers.
    assert answered.value.status == (403 if kind == "the same site" else 401)
    assert world.rows() == before


@pytest.mark.long
def test_the_cookie_of_one_port_is_none_for_another(world: World, settings: Settings) -> None:
    other = settings.model_copy(update={"data_dir": settings.data_dir / "other"})
    with RunningServer(create_app(other)) as server:
        page = world.browser.new_page()
        page.goto(f"{server.url}/health")
        answer = page.evaluate(FETCH, [f"{server.url}/api/session", {}])
        assert answer["status"] == 401
        assert "sign in again" not in answer["text"]
        token = {"token": token_of_first_start(other)}
        options = {"method": "POST", "body": json.dumps(token), "headers": meant()}
        assert page.evaluate(FETCH, [f"{server.url}/api/session", options])["status"] == 204
        assert page.evaluate(FETCH, [f"{server.url}/api/session", {}])["status"] == 200
        assert len(world.browser.cookies()) == 2
    own = world.page(world.url)
    assert world.fetch(own, "GET", "/api/session")["status"] == 200
