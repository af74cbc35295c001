"""Sessions in a real browser: what pages of other origins can do with its cookie.

The service is at a port of 127.0.0.1. A page at another port of 127.0.0.1 has another origin but is
of the same site, so the browser adds the cookie to its requests. A page at `localhost` is of
another site. `make browser` runs these tests.
"""

import json
from typing import Any

import pytest

from backend.main import create_app
from config.settings import Settings
from tests.browser.world import (
    BEACON,
    ELEMENT,
    EVENTS,
    FETCH,
    FORM,
    SENTINEL,
    WEBSOCKET,
    World,
    meant,
)
from tests.support.clients import token_of_first_start
from tests.support.http import new_project
from tests.support.servers import RunningServer


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
        told = page.evaluate(EVENTS, f"{world.url}/api/events?after=0")
        assert json.loads(told)["id"] == 1
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
    assert page.evaluate(EVENTS, world.url + "/api/events?after=0") == "failed"
    assert page.evaluate(EVENTS, world.url + "/api/logs?after_id=0") == "failed"
    # A beacon has the cookie, and needs no preflight.
    for path in ("/api/projects", "/api/session", "/api/tokens"):
        url = world.url + path
        assert world.answer(origin, url, BEACON, url) in {None, *refusals}, path
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
