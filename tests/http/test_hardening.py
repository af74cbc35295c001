"""The security headers of every answer, the hosts that requests may name, and the pages that can be
turned off."""

import base64
import hashlib
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from config.settings import Settings
from tests.http.raw import Wire
from tests.support.clients import client_of, token_of_first_start
from tests.support.http import make_project, problem
from tests.support.resources import ABSENT, ABSENT_ID
from tests.support.routes import calls, send
from tests.support.servers import RunningServer

HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def has_headers(response: httpx.Response) -> bool:
    """Whether the answer has each of these headers exactly once."""
    # A browser may keep an answer that it can ask for again by its tag.
    caching = {"cache-control": "private, no-cache"} if "etag" in response.headers else {}
    return {name: response.headers.get_list(name) for name in HEADERS} == {
        name: [value] for name, value in (HEADERS | caching).items()
    }


@pytest.mark.shared
async def test_every_route_sends_the_security_headers(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, application: FastAPI
) -> None:
    for call in calls(application):
        names = {name: ABSENT.get(name, ABSENT_ID) for name in call.names}
        for sender in (client, stranger):
            response = await send(sender, call, names)
            assert has_headers(response), (str(call), response.status_code)
            assert "strict-transport-security" not in response.headers


@pytest.mark.shared
async def test_a_secret_is_not_to_be_stored_on_the_way(client: httpx.AsyncClient) -> None:
    project = await make_project(client, secrets=[{"key": "KEY", "value": "v"}])
    path = f"/api/projects/{project['id']}"
    token = await client.post("/api/tokens", json={"name": "t", "scopes": ["projects:read"]})
    shown = await client.get(f"{path}/secrets/KEY/value")
    for response in (token, shown):
        assert response.is_success
        assert response.headers.get_list("cache-control") == ["no-store"]


async def test_refusals_before_any_route_have_them_too(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    large = b"x" * (settings.max_body_bytes + 1)
    for response in (
        await client.get("/nowhere"),
        await client.patch("/api/projects"),
        await client.post("/api/projects", content=large),
        await client.get("/api/projects", headers={"Accept-Encoding": "gzip"}),
        await client.head("/health"),
    ):
        assert has_headers(response), response.request.url


def test_what_is_no_http_is_a_problem_with_them(server: RunningServer) -> None:
    with Wire(server) as wire:
        wire.send(b"NONSENSE\r\n\r\n")
        answer = wire.answer()
        assert (answer.status, answer.document["code"]) == (400, "bad_request")
        assert HEADERS.items() <= answer.headers.items()


class Page(HTMLParser):
    """The resources and scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: dict[str, dict[str, str | None]] = {}
        self.scripts: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note each address that it loads."""
        self._tag = tag
        attributes = dict(attrs)
        for address in (attributes.get("src"), attributes.get("href")):
            if address and not address.startswith("data:"):
                self.loaded[address] = attributes

    def handle_data(self, data: str) -> None:
        """Note each inline script."""
        if self._tag == "script" and data.strip():
            self.scripts.append(data)


@pytest.mark.shared
async def test_the_page_may_run_what_it_needs_and_nothing_else(stranger: httpx.AsyncClient) -> None:
    response = await stranger.get("/docs")
    policy: dict[str, list[str]] = {}
    for directive in response.headers["content-security-policy"].split("; "):
        name, *sources = directive.split(" ")
        policy[name] = sources
    page = Page(response.text)
    assert policy["default-src"] == policy["frame-ancestors"] == ["'none'"]
    assert policy["connect-src"] == ["'self'"]
    permitted = []
    for script in page.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        permitted.append(f"'sha256-{digest}'")
    permitted += [address for address in page.loaded if address.endswith(".js")]
    assert sorted(policy["script-src"]) == sorted(permitted)
    assert len(page.loaded) == 2
    for address, attributes in page.loaded.items():
        assert address in policy["script-src"] + policy["style-src"]
        # The browser refuses a replaced file.
        integrity, crossorigin = attributes["integrity"], attributes["crossorigin"]
        assert integrity is not None
        assert (integrity[:7], len(integrity), crossorigin) == ("sha384-", 71, "anonymous")


class TestOff:
    """The pages are turned off."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """`STRONGROOM_DOCS=off`."""
        return settings.model_copy(update={"docs": "off"})

    async def test_they_are_like_any_unknown_path(self, stranger: httpx.AsyncClient) -> None:
        documents = []
        for path in ("/nowhere", "/docs", "/openapi.json", "/redoc", "/docs/oauth2-redirect"):
            document = problem(await stranger.get(path), "not_found")
            del document["request_id"]
            documents.append(document)
            response = await stranger.post(path)
            assert response.status_code == 404
        assert all(document == documents[0] for document in documents)
        assert "docs" not in documents[0]["detail"]

    async def test_the_document_is_the_same_for_tools(
        self, application: FastAPI, settings: Settings
    ) -> None:
        on = settings.model_copy(update={"docs": "on"})
        assert application.openapi() == create_app(on).openapi()


TRUSTED = ("strongroom.example.com", "*.internal.example", "127.0.0.1", "[::1]")


class TestTrustedHosts:
    """A service that accepts only its own names."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Two names, two addresses, and a front end."""
        changed = {"trusted_hosts": TRUSTED, "cors_origins": ("https://app.example.com",)}
        return settings.model_copy(update=changed)

    @pytest.fixture
    async def caller(
        self, application: FastAPI, settings: Settings
    ) -> AsyncIterator[httpx.AsyncClient]:
        """A client with the admin token that sets its own Host."""
        token = token_of_first_start(settings)
        url = "http://strongroom.example.com"
        async with client_of(application, token, base_url=url) as caller:
            yield caller

    @pytest.mark.parametrize(
        "host",
        [
            "strongroom.example.com",
            "Strongroom.Example.COM",
            "strongroom.example.com:8443",
            "a.internal.example",
            "a.b.internal.example:80",
            "127.0.0.1:8000",
            "[::1]:8000",
            "[::1]",
        ],
    )
    async def test_a_request_for_one_of_them_is_answered(
        self, caller: httpx.AsyncClient, host: str
    ) -> None:
        response = await caller.get("/api/projects", headers={"Host": host})
        assert response.status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example.com",
            "strongroom.example.com.evil.test",
            "strongroom.example.com:80:80",
            "strongroom.example.com:x",
            "evil.test#strongroom.example.com",
            "xstrongroom.example.com",
            "internal.example",
            "xinternal.example",
            "127.0.0.2",
            "::1",
            "*.internal.example.evil",
            "\u00e9.test",
            "",
        ],
    )
    async def test_any_other_is_refused_before_all_else(
        self, caller: httpx.AsyncClient, host: str
    ) -> None:
        for method, path in (
            ("GET", "/api/projects"),
            ("POST", "/api/projects"),
            ("GET", "/docs"),
            ("GET", "/"),
            ("GET", "/metrics"),
            ("GET", "/nowhere"),
            ("OPTIONS", "/api/projects"),
        ):
            response = await caller.request(method, path, headers={b"Host": host.encode()})
            document = problem(response, "bad_request")
            assert "STRONGROOM_TRUSTED_HOSTS" in document["detail"]
            assert has_headers(response)
            assert not host or host not in response.text

    async def test_probes_ask_an_address(self, caller: httpx.AsyncClient) -> None:
        for path in ("/health", "/ready"):
            response = await caller.get(path, headers={"Host": "10.1.2.3:8000"})
            assert response.status_code == 200

    def test_no_host_and_two_hosts_are_refused(self, settings: Settings) -> None:
        with RunningServer(create_app(settings)) as server:
            token = token_of_first_start(settings)
            trusted = b"Host: strongroom.example.com\r\n"
            for version, hosts, status in (
                (b"1.1", trusted, 200),
                (b"1.0", b"", 400),
                (b"1.1", trusted + b"Host: evil.test\r\n", 400),
                (b"1.1", trusted + trusted, 400),
            ):
                with Wire(server) as wire:
                    request = b"GET /api/projects HTTP/%s\r\n%s" % (version, hosts)
                    wire.send(request + f"Authorization: Bearer {token}\r\n\r\n".encode())
                    assert wire.answer().status == status, hosts


@pytest.mark.shared
async def test_without_the_setting_any_host_is_served(client: httpx.AsyncClient) -> None:
    for host in ("evil.example.com", "10.1.2.3", ""):
        response = await client.get("/api/projects", headers={"Host": host})
        assert response.status_code == 200
