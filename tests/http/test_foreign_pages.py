"""Without authentication, pages of other origins and requests for other hosts have no effect."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from config.settings import Settings
from tests.http.raw import Wire
from tests.support.clients import client_of
from tests.support.http import all_rows, manager_of, new_project, problem
from tests.support.resources import ABSENT, ABSENT_ID
from tests.support.routes import calls, send
from tests.support.servers import RunningServer

PERMITTED = "https://app.example.com"
OTHER_HOSTS = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "xlocalhost",
    "10.0.0.1:8000",
    "0.0.0.0:8000",
    "128.0.0.1",
    "127.0.0.1:80:80",
    "[::2]",
    "[::ffff:8.8.8.8]",
    "2130706433",
    "127.1",
    "",
)
OWN_HOSTS = (
    "localhost",
    "LocalHost:8000",
    "localhost.:8000",
    "app.localhost:8000",
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.9.8.7:1",
    "[::1]",
    "[::1]:8000",
    "[0:0:0:0:0:0:0:1]:8000",
    "[::ffff:7f00:1]",
)
HOST = "127.0.0.1:8000"
OWN = f"http://{HOST}"
FOREIGN = {
    "another origin": {"Origin": "https://evil.example"},
    "another port": {"Origin": "http://127.0.0.1:8001"},
    "no port": {"Origin": "http://127.0.0.1"},
    "another scheme": {"Origin": f"https://{HOST}"},
    "another name of this machine": {"Origin": "http://localhost:8000"},
    "a sandboxed page": {"Origin": "null"},
    "an empty origin": {"Origin": ""},
    "almost the permitted one": {"Origin": PERMITTED + ".evil.example"},
    "a page of another site": {"Sec-Fetch-Site": "cross-site"},
    "a page of the same site": {"Sec-Fetch-Site": "same-site"},
    "a page of a kind that is not known": {"Sec-Fetch-Site": "sentinel"},
    "another site that lies on its origin": {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
    "a form of another site": {
        "Origin": "https://evil.example",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Content-Type": "application/x-www-form-urlencoded",
    },
    "a link on another site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "a request without CORS": {
        "Origin": "https://evil.example",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "no-cors",
        "Content-Type": "text/plain",
    },
}
OWN_PAGES = {
    "a program": {},
    "an address that was typed": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    "an own page": {"Sec-Fetch-Site": "same-origin"},
    "an own page that writes": {"Sec-Fetch-Site": "same-origin", "Origin": OWN},
    "a page of a permitted origin": {"Sec-Fetch-Site": "cross-site", "Origin": PERMITTED},
}


@pytest.fixture
async def caller(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token that calls `HOST`."""
    async with client_of(application, base_url=OWN) as caller:
        yield caller


def host(name: str) -> dict[str, str]:
    """The header that names the host."""
    return {"Host": name}


def stored(application: FastAPI) -> dict[str, list[dict[str, Any]]]:
    """All stored rows, without the service's own logs, which are written later."""
    rows = all_rows(manager_of(application))
    return {name: rows[name] for name in rows if not name.startswith("system_log")}


class TestAuthOff:
    """A service without authentication."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """`STRONGROOM_AUTH=off`, with a front end on another origin."""
        return settings.model_copy(update={"auth": "off", "cors_origins": (PERMITTED,)})

    async def test_another_host_is_refused_on_every_route(
        self, caller: httpx.AsyncClient, application: FastAPI
    ) -> None:
        before = stored(application)
        for call in calls(application):
            names = {key: ABSENT.get(key, ABSENT_ID) for key in call.names}
            for name in OTHER_HOSTS:
                response = await send(caller, call, names, headers=host(name))
                # With two ports it is not a host.
                problem(response, "bad_request" if name.count(":80") == 2 else "forbidden")
                assert not name or name not in response.text
        assert stored(application) == before

    async def test_a_name_of_loopback_is_answered(self, caller: httpx.AsyncClient) -> None:
        for name in OWN_HOSTS:
            for path in ("/api/projects", "/health", "/docs", "/metrics"):
                assert (await caller.get(path, headers=host(name))).status_code == 200, name
            own = {**host(name), "Origin": f"http://{name.lower()}"}
            response = await caller.post("/api/projects", json=new_project(), headers=own)
            assert response.status_code == 201, name

    async def test_another_page_is_refused_on_every_route(
        self, caller: httpx.AsyncClient, application: FastAPI
    ) -> None:
        before = stored(application)
        for kind, headers in FOREIGN.items():
            for call in calls(application):
                names = {key: ABSENT.get(key, ABSENT_ID) for key in call.names}
                response = await send(caller, call, names, headers=headers)
                assert response.status_code == 403, (kind, str(call))
                problem(response, "forbidden")
                assert "access-control-allow-origin" not in response.headers
                assert "sentinel" not in response.text
            for path in ("/docs", "/openapi.json", "/nowhere"):
                problem(await caller.get(path, headers=headers), "forbidden")
        assert stored(application) == before

    async def test_a_preflight_of_another_page_is_refused(self, caller: httpx.AsyncClient) -> None:
        asking = {"Access-Control-Request-Method": "POST"}
        foreign = {**asking, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        response = await caller.options("/api/projects", headers=foreign)
        problem(response, "forbidden")
        assert "access-control-allow-origin" not in response.headers
        permitted = {**foreign, "Origin": PERMITTED}
        assert (await caller.options("/api/projects", headers=permitted)).status_code == 200

    async def test_its_own_pages_and_permitted_ones_are_answered(
        self, caller: httpx.AsyncClient
    ) -> None:
        for kind, headers in OWN_PAGES.items():
            response = await caller.post("/api/projects", json=new_project(), headers=headers)
            assert response.status_code == 201, kind
            for path in ("/api/projects", "/docs", "/metrics"):
                assert (await caller.get(path, headers=headers)).status_code == 200, kind

    async def test_the_default_port_is_not_in_an_origin(self, caller: httpx.AsyncClient) -> None:
        for name, origin in (
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
            ("[::1]:80", "http://[::1]"),
        ):
            headers = {"Host": name, "Origin": origin}
            response = await caller.post("/api/projects", json=new_project(), headers=headers)
            assert response.status_code == 201

    def test_no_host_or_two_are_refused(self, server: RunningServer) -> None:
        for version, hosts, status in (
            (b"1.1", b"Host: localhost\r\n", 200),
            (b"1.0", b"", 403),
            (b"1.1", b"", 400),
            (b"1.1", b"Host: localhost\r\nHost: evil.example\r\n", 400),
            (b"1.1", b"Host: evil.example\r\nHost: localhost\r\n", 400),
        ):
            with Wire(server) as wire:
                wire.send(b"GET /api/projects HTTP/%s\r\n%s\r\n" % (version, hosts))
                assert wire.answer().status == status, hosts

    def test_an_absolute_url_names_the_host(self, server: RunningServer) -> None:
        for target, named, status in (
            (b"http://localhost/api/projects", b"localhost", 200),
            (b"http://localhost/api/projects", b"evil.example", 200),
            (b"http://evil.example/api/projects", b"localhost", 403),
        ):
            with Wire(server) as wire:
                wire.send(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (target, named))
                assert wire.answer().status == status, target


class TestPublicUrl:
    """A service without authentication behind a proxy that browsers call by another name."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """`STRONGROOM_PUBLIC_URL` is the proxy's URL."""
        changed = {"auth": "off", "public_url": "https://strongroom.test:8443"}
        return settings.model_copy(update=changed)

    async def test_it_is_the_own_origin(self, caller: httpx.AsyncClient) -> None:
        for origin, status in (
            ("https://strongroom.test:8443", 201),
            ("https://strongroom.test", 403),
            ("http://strongroom.test:8443", 403),
            (OWN, 403),
        ):
            response = await caller.post(
                "/api/projects", json=new_project(), headers={"Origin": origin}
            )
            assert response.status_code == status, origin


class TestOpenMetrics:
    """Metrics that need no token on loopback, where all other calls need one."""

    async def test_programs_of_this_machine_read_them(self, caller: httpx.AsyncClient) -> None:
        for name in OWN_HOSTS:
            assert (await caller.get("/metrics", headers=host(name))).status_code == 200, name

    async def test_other_hosts_and_pages_do_not(self, caller: httpx.AsyncClient) -> None:
        for headers in (*map(host, OTHER_HOSTS), *FOREIGN.values()):
            response = await caller.get("/metrics", headers=headers)
            assert response.status_code in (400, 403), headers
            assert "strongroom_" not in response.text

    async def test_with_a_token_they_are_read_under_any_name(
        self, client: httpx.AsyncClient, caller: httpx.AsyncClient
    ) -> None:
        assert (await client.get("/metrics", headers=host("metrics.example"))).status_code == 200
        wrong = {**host("metrics.example"), "Authorization": "Bearer sr_1_no"}
        problem(await caller.get("/metrics", headers=wrong), "unauthenticated")

    async def test_all_else_goes_by_the_token_alone(self, client: httpx.AsyncClient) -> None:
        foreign = {**host("evil.example"), **FOREIGN["a request without CORS"]}
        assert (await client.get("/api/projects", headers=foreign)).status_code == 200


class TestEveryOriginAndMetrics:
    """`*` in `STRONGROOM_CORS_ORIGINS` does not apply to what is open without a token."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Every origin is permitted."""
        return settings.model_copy(update={"cors_origins": ("*",)})

    async def test_no_page_reads_them(self, caller: httpx.AsyncClient) -> None:
        response = await caller.get("/metrics", headers={"Origin": "https://evil.example"})
        problem(response, "forbidden")
