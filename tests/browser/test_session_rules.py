"""What a session is, in a real browser: its cookie, what it may do, and when it ends. Together with
`test_sessions.py`, which has the pages of other origins, this is each sentence about sessions.
`make browser` runs these tests."""

import json
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.main import create_app
from config.settings import Settings
from tests.browser.pages import served_pages
from tests.browser.tls import tls_proxy
from tests.browser.world import EVENTS, FETCH, World, meant
from tests.support.clients import bearer, client_at, token_of_first_start
from tests.support.servers import RunningServer

HOURS = 3600
HOST = "strongroom.test"
FRAME = """
([url, options, sandbox]) => new Promise(resolve => {
  const frame = document.createElement("iframe")
  frame.sandbox = sandbox
  frame.srcdoc = `<script>
    const answer = fetch(${JSON.stringify(url)}, ${JSON.stringify(options)})
    answer.then(({status}) => status, () => 0).then(told => parent.postMessage(told, "*"))
  </script>`
  addEventListener("message", ({data}) => resolve(data), {once: true})
  document.body.append(frame)
})
"""
OPEN_STREAM = """
url => new Promise(resolve => {
  window.source = new EventSource(url, {withCredentials: true})
  window.over = new Promise(end => source.addEventListener("error", end))
  source.addEventListener("ready", resolve)
})
"""
REFUSED = """
() => new Promise(resolve => {
  const check = () => source.readyState === EventSource.CLOSED ? resolve(true) : null
  check()
  source.addEventListener("error", check)
})
"""


def new_token(world: World, *scopes: str, **fields: Any) -> dict[str, Any]:
    """A token with these scopes, and its id."""
    with client_at(world.url, world.token) as client:
        answer = client.post("/api/tokens", json={"name": "t", "scopes": scopes, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def sign_in(world: World, page: Any, token: str) -> dict[str, Any]:
    """Begin another session on the page. Returns the cookie."""
    answer = world.fetch(page, "POST", "/api/session", {"token": token}, headers=meant())
    assert (answer["status"], answer["text"]) == (204, "")
    [cookie] = world.browser.cookies()
    found: dict[str, Any] = cookie
    return found


@pytest.mark.long
def test_the_cookie_lasts_for_twelve_hours_at_most(world: World) -> None:
    page = world.page(world.permitted)
    short = new_token(world, "projects:read", expires_in="1h")["token"]
    for token, seconds in ((world.token, 12 * HOURS), (short, HOURS)):
        cookie = sign_in(world, page, token)
        assert seconds - 120 < cookie["expires"] - time.time() <= seconds
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
        assert token not in cookie["value"]
        assert page.evaluate("document.cookie") == ""


@pytest.mark.long
def test_a_session_is_told_what_its_token_is(world: World) -> None:
    page = world.page(world.permitted)
    sign_in(world, page, new_token(world, "projects:read", project_ids=[1])["token"])
    me = [
        json.loads(world.fetch(page, "GET", path)["text"]) for path in ("/api/session", "/api/me")
    ]
    assert me[0] == me[1]
    assert (me[0]["name"], me[0]["scopes"], me[0]["project_ids"]) == ("t", ["projects:read"], [1])


@pytest.mark.long
def test_a_session_may_do_what_its_token_may_and_ends_with_it(world: World) -> None:
    page = world.page(world.permitted)
    made = new_token(world, "projects:read")
    sign_in(world, page, made["token"])
    assert world.fetch(page, "GET", "/api/projects/1")["status"] == 200
    refused = world.fetch(page, "PATCH", "/api/projects/1", {"name": "x"}, headers=meant())
    assert (refused["status"], json.loads(refused["text"])["scope"]) == (403, "projects:write")
    page.evaluate(OPEN_STREAM, f"{world.url}/api/events")
    with client_at(world.url, world.token) as client:
        assert client.delete(f"/api/tokens/{made['id']}").status_code == 204
    # The stream ends, and when the browser comes back it is refused.
    page.evaluate("over.then(() => true)")
    assert page.evaluate(REFUSED)
    assert world.fetch(page, "GET", "/api/projects/1")["status"] == 401


@pytest.mark.long
def test_a_session_that_was_ended_is_over_for_all_pages(world: World) -> None:
    first, other = world.page(world.permitted), world.page(world.url)
    first.evaluate(OPEN_STREAM, f"{world.url}/api/events")
    assert world.fetch(other, "DELETE", "/api/session", headers=meant())["status"] == 204
    assert world.browser.cookies() == []
    first.evaluate("over.then(() => true)")
    assert first.evaluate(REFUSED)
    assert world.fetch(first, "GET", "/api/session")["status"] == 401


@pytest.mark.long
def test_every_unsafe_method_needs_the_header(world: World) -> None:
    before = world.rows()
    unsafe = {
        ("POST", "/api/projects"): {"name": "p", "github_owner": "a", "github_repo": "b"},
        ("PUT", "/api/projects/1"): {"name": "forged"},
        ("PATCH", "/api/projects/1"): {"name": "forged"},
        ("DELETE", "/api/projects/1"): None,
        ("DELETE", "/api/session"): None,
    }
    for origin in (world.url, world.permitted):
        page = world.page(origin)
        for (method, path), body in unsafe.items():
            for value in ("0", "", "true"):
                headers = meant(**{"X-Strongroom-Request": value})
                answer = world.fetch(page, method, path, body, headers=headers)
                assert answer["status"] == 403, (origin, method, value)
    assert world.rows() == before
    assert len(world.browser.cookies()) == 1


@pytest.mark.long
def test_a_sandboxed_frame_has_no_origin_and_no_session(world: World) -> None:
    before = world.rows()
    options = {"method": "PATCH", "body": '{"name": "forged"}', "headers": meant()}
    options["credentials"] = "include"
    url = f"{world.url}/api/projects/1"
    for origin in (world.url, world.permitted):
        page = world.page(origin)
        assert page.evaluate(FRAME, [url, options, "allow-scripts"]) == 0
        assert page.evaluate(FRAME, [url, {"credentials": "include"}, "allow-scripts"]) == 0
    assert world.rows() == before
    # It is the sandbox that refuses.
    page = world.page(world.permitted)
    assert page.evaluate(FRAME, [url, options, "allow-scripts allow-same-origin"]) == 200


@pytest.mark.long
def test_a_token_wins_over_the_cookie(world: World) -> None:
    narrow = new_token(world, "runs:read")["token"]
    for origin in (world.url, world.permitted):
        page = world.page(origin)
        me = world.fetch(page, "GET", "/api/me", headers=bearer(narrow))
        assert json.loads(me["text"])["name"] == "t"
        refused = world.fetch(page, "GET", "/api/projects/1", headers=bearer(narrow))
        assert refused["status"] == 403
        wrong = world.fetch(page, "GET", "/api/projects/1", headers=bearer("sr_1_wrong"))
        assert wrong["status"] == 401
        # A token needs no other header, and has no session to end.
        ended = world.fetch(page, "DELETE", "/api/session", headers=bearer(narrow))
        assert ended["status"] == 204
        assert world.fetch(page, "GET", "/api/session")["status"] == 200


@pytest.mark.long
def test_a_permitted_page_of_another_site_has_no_session_but_may_send_a_token(world: World) -> None:
    page = world.page(world.elsewhere)
    assert world.fetch(page, "GET", "/api/session")["status"] == 401
    assert page.evaluate(EVENTS, f"{world.url}/api/events?after=0") == "failed"
    before = world.browser.cookies()
    answer = world.fetch(page, "POST", "/api/session", {"token": world.token})
    # The browser drops a strict cookie in the answer to another site.
    assert (answer["status"], world.browser.cookies()) == (204, before)
    assert world.fetch(page, "GET", "/api/session")["status"] == 401
    with_token = world.fetch(page, "GET", "/api/projects/1", headers=bearer(world.token))
    assert with_token["status"] == 200


@pytest.mark.long
def test_a_permitted_page_sends_any_header_and_reads_those_that_it_needs(world: World) -> None:
    page = world.page(world.permitted)
    body = {"name": "p", "github_owner": "acme", "github_repo": "exposed"}
    headers = meant(**{"X-Request-ID": "of-the-page", "X-Anything": "1", "Idempotency-Key": "k"})
    for replayed in (None, "true"):
        made = world.fetch(page, "POST", "/api/projects", body, headers=headers)
        assert made["status"] == 201, made
        read = made["headers"]
        assert (read["etag"], read["location"]) == ('"v1"', "/api/projects/2")
        assert (read["x-request-id"], read.get("idempotency-replayed")) == ("of-the-page", replayed)


@pytest.mark.long
def test_behind_https_the_cookie_is_secure_and_shared_by_the_site(
    settings: Settings, chromium: Any, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        proxy, port = stack.enter_context(tls_proxy(HOST, tmp_path))
        pages = stack.enter_context(served_pages())
        own, other = f"https://{HOST}:{port}", f"http://app.{HOST}:{pages}"
        changes = {"public_url": own, "cors_origins": (other,)}
        app = create_app(settings.model_copy(update=changes))
        server = stack.enter_context(RunningServer(app))
        proxy.target = server.address[1]
        context = chromium.new_context(bypass_csp=True, ignore_https_errors=True)
        stack.callback(context.close)
        page = context.new_page()
        page.goto(f"{own}/health")
        token = token_of_first_start(settings)
        body = {"method": "POST", "body": json.dumps({"token": token}), "headers": meant()}
        assert page.evaluate(FETCH, [f"{own}/api/session", body])["status"] == 204
        [cookie] = context.cookies()
        assert cookie["name"] == f"__Host-strongroom_session_{port}"
        assert (cookie["secure"], cookie["httpOnly"]) == (True, True)
        assert (cookie["sameSite"], cookie["path"]) == ("Strict", "/")
        assert page.evaluate(FETCH, [f"{own}/api/session", {}])["status"] == 200
        ended = {"method": "DELETE", "headers": meant()}
        # Without TLS it is another site and another origin, also at the same host.
        page.goto(f"http://{HOST}:{pages}")
        for options in ({"credentials": "include"}, {**ended, "credentials": "include"}):
            assert page.evaluate(FETCH, [f"{own}/api/session", options])["type"] == "refused"
        plain = f"http://{HOST}:{server.address[1]}/api/session"
        with page.expect_request(plain) as sent:
            page.goto(plain)
        assert "cookie" not in sent.value.all_headers()
        page.goto(f"{own}/health")
        assert page.evaluate(FETCH, [f"{own}/api/session", ended])["status"] == 204
        assert context.cookies() == []


@pytest.mark.long
def test_pages_of_another_host_of_the_domain_have_the_session_if_they_are_permitted(
    settings: Settings, chromium: Any
) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(served_pages())
        permitted, foreign = (f"http://{name}.{HOST}:{port}" for name in ("app", "other"))
        app = create_app(settings.model_copy(update={"cors_origins": (permitted,)}))
        server = stack.enter_context(RunningServer(app))
        url = f"http://api.{HOST}:{server.address[1]}/api/session"
        context = chromium.new_context()
        stack.callback(context.close)
        page = context.new_page()
        page.goto(permitted)
        token = token_of_first_start(settings)
        begin = {"method": "POST", "body": json.dumps({"token": token}), "headers": meant()}
        included = {"credentials": "include"}
        assert page.evaluate(FETCH, [url, {**begin, **included}])["status"] == 204
        assert page.evaluate(FETCH, [url, included])["status"] == 200
        page.goto(foreign)
        assert page.evaluate(FETCH, [url, included])["type"] == "refused"
        assert page.evaluate(FETCH, [url, {**begin, **included}])["type"] == "refused"
        assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.long
def test_a_page_gets_from_the_browser_only_what_still_holds(world: World) -> None:
    path = "/api/projects/1"
    page = world.page(world.permitted)
    read = [world.fetch(page, "GET", path) for _ in range(3)]
    assert [(one["status"], one["headers"]["etag"]) for one in read] == [(200, '"v1"')] * 3
    with client_at(world.url, world.token) as client:
        # The service has answered two of them without a body.
        told = client.get("/metrics").text
        assert re.search(
            r'_count\{.*route="/api/projects/\{project_id\}",status="304"\} 2\.0', told
        )
        assert client.patch(path, json={"name": "changed"}).status_code == 200
    changed = world.fetch(page, "GET", path)
    assert (changed["headers"]["etag"], json.loads(changed["text"])["name"]) == ('"v2"', "changed")
    assert world.fetch(page, "DELETE", "/api/session", headers=meant())["status"] == 204
    assert world.fetch(page, "GET", path)["status"] == 401
