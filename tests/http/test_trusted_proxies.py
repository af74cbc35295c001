"""The client's address when proxies are in front: which headers the service trusts."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from backend.http.authentication import client_address
from backend.http.trusted_proxies import TrustedProxies
from backend.main import create_app
from config.settings import Settings
from tests.support.clients import Caller
from tests.support.http import problem
from tests.support.servers import RunningServer

PROXIES = ("10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48")
WRONG = {"Authorization": "Bearer sr_1_no"}


def seen(peer: str | None, *headers: tuple[str, str], proxies: tuple[str, ...] = PROXIES) -> Any:
    """The client's address and scheme, as the service determines them."""
    scope: dict[str, Any] = {
        "type": "http",
        "client": None if peer is None else (peer, 1234),
        "scheme": "http",
        "headers": [],
    }
    noted: dict[bytes, bytes] = {}
    for name, value in headers:
        key, text = name.lower().encode(), value.encode("latin-1")
        noted[key] = noted[key] + b", " + text if key in noted else text
    TrustedProxies([ip_network(proxy) for proxy in proxies]).apply(scope, noted)
    return client_address(Request(scope)), scope["scheme"]


def told(address: str) -> tuple[str, str]:
    """The header `X-Forwarded-For`."""
    return ("X-Forwarded-For", address)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("192.0.2.7", "203.0.113.9", "203.0.113.9"),
        ("::ffff:10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("2001:db8:1::5", "2001:db8:9::1", "2001:db8:9::1"),
        # The rightmost address that is not a proxy: anything before it may be forged.
        ("10.1.2.3", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9, 10.9.9.9, 192.0.2.7", "203.0.113.9"),
        ("10.1.2.3", "10.0.0.5, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        # If all are proxies, the first one is the client.
        ("10.1.2.3", "10.4.4.4, 10.5.5.5", "10.4.4.4"),
        # Forms of addresses.
        ("10.1.2.3", "  203.0.113.9  ", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9:4711", "203.0.113.9"),
        ("10.1.2.3", "[2001:db8:9::1]:4711", "2001:db8:9::1"),
        ("10.1.2.3", "[2001:db8:9::1]", "2001:db8:9::1"),
        ("10.1.2.3", "2001:DB8:9:0::1", "2001:db8:9::1"),
        ("10.1.2.3", "::ffff:203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9, [2001:db8:1::9]:1, ::ffff:10.0.0.9", "203.0.113.9"),
        # Without a usable address, the proxy that added the entry counts as the client.
        ("10.1.2.3", "unknown", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9, unknown", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9, unknown, 10.9.9.9", "10.9.9.9"),
        ("10.1.2.3", "203.0.113.9, _hidden:80", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9,", "10.1.2.3"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "999.1.1.1", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9/8", "10.1.2.3"),
        ("10.1.2.3", "\u00e9", "10.1.2.3"),
        # Others are not trusted.
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),
        ("192.0.2.8", "198.51.100.1", "192.0.2.8"),
        ("2001:db8:2::5", "198.51.100.1", "2001:db8:2::5"),
        ("testclient", "198.51.100.1", "testclient"),
    ],
)
def test_the_client_is_the_nearest_hop_that_is_no_proxy(
    peer: str, forwarded: str, address: str
) -> None:
    assert seen(peer, told(forwarded)) == (address, "http")


def test_repeated_headers_are_one_list() -> None:
    assert seen("10.1.2.3", told("198.51.100.1"), told("203.0.113.9"))[0] == "203.0.113.9"
    assert seen("10.1.2.3", told("203.0.113.9"), told("10.2.2.2"))[0] == "203.0.113.9"


def test_a_connection_without_an_address_is_not_from_a_proxy() -> None:
    assert seen(None, told("203.0.113.9"), proxies=("0.0.0.0/0", "::/0")) == ("", "http")


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("https", "https"),
        (" HTTPS ", "https"),
        ("http", "http"),
        ("http, https", "https"),
        ("https, http", "http"),
        ("https,", "http"),
        ("wss", "http"),
        ("javascript", "http"),
        ("", "http"),
    ],
)
def test_the_scheme_is_what_the_nearest_proxy_says(proto: str, scheme: str) -> None:
    header = ("X-Forwarded-Proto", proto)
    assert seen("10.1.2.3", header) == ("10.1.2.3", scheme)
    assert seen("203.0.113.5", header) == ("203.0.113.5", "http")


def test_no_other_header_is_believed() -> None:
    for name, value in (
        ("Forwarded", "for=198.51.100.1;proto=https"),
        ("X-Real-IP", "198.51.100.1"),
        ("X-Forwarded-Host", "evil.example"),
        ("True-Client-IP", "198.51.100.1"),
    ):
        assert seen("10.1.2.3", (name, value)) == ("10.1.2.3", "http")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Three failures a minute, behind proxies."""
    proxies = tuple(ip_network(proxy) for proxy in PROXIES)
    changed = {"trusted_proxies": proxies, "failed_attempts_per_minute": 3}
    return settings.model_copy(update=changed)


async def fails(caller: httpx.AsyncClient, forwarded: str | None, code: str) -> None:
    """A request with a wrong token gets this error."""
    headers = WRONG if forwarded is None else {**WRONG, "X-Forwarded-For": forwarded}
    problem(await caller.get("/api/projects", headers=headers), code)


async def test_failed_attempts_behind_a_proxy_are_each_client_s_own(caller: Caller) -> None:
    async with caller("10.1.2.3") as proxy:
        for _ in range(3):
            await fails(proxy, "203.0.113.9", "unauthenticated")
        await fails(proxy, "203.0.113.9", "rate_limited")
        # Whatever the client adds to the header.
        await fails(proxy, "198.51.100.77, 203.0.113.9", "rate_limited")
        await fails(proxy, "203.0.113.10", "unauthenticated")
        await fails(proxy, None, "unauthenticated")


async def test_a_client_that_is_not_a_proxy_can_not_choose_its_address(caller: Caller) -> None:
    async with caller("203.0.113.5") as stranger:
        for number in range(3):
            await fails(stranger, f"198.51.100.{number}", "unauthenticated")
        await fails(stranger, "198.51.100.99", "rate_limited")
    async with caller("10.1.2.3") as proxy:
        await fails(proxy, "198.51.100.1", "unauthenticated")


class TestOwnOrigin:
    """The scheme of the service's own pages when a proxy ends TLS."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Without authentication."""
        return settings.model_copy(update={"auth": "off"})

    async def test_it_is_the_proxy_s(self, caller: Caller) -> None:
        forwarded = {"Host": "localhost", "X-Forwarded-Proto": "https"}
        for peer, origin, status in (
            ("10.1.2.3", "https://localhost", 200),
            ("10.1.2.3", "http://localhost", 403),
            ("203.0.113.5", "https://localhost", 403),
            ("203.0.113.5", "http://localhost", 200),
        ):
            async with caller(peer) as client:
                headers = {**forwarded, "Origin": origin}
                response = await client.get("/api/projects", headers=headers)
                assert response.status_code == status, (peer, origin)


@pytest.fixture
def behind_itself(settings: Settings) -> Iterator[RunningServer]:
    """A real server that treats this machine as a proxy."""
    changed = {"trusted_proxies": (ip_network("127.0.0.1"),)}
    with RunningServer(create_app(settings.model_copy(update=changed))) as server:
        yield server


def test_the_product_s_own_server_leaves_it_to_the_setting(behind_itself: RunningServer) -> None:
    with behind_itself.client() as client:
        for address in ("203.0.113.9", "203.0.113.10"):
            headers = {**WRONG, "X-Forwarded-For": address}
            statuses = [client.get("/api/projects", headers=headers).status_code for _ in range(4)]
            assert statuses == [401, 401, 401, 429]


def test_without_the_setting_no_proxy_is_trusted(server: RunningServer) -> None:
    with server.client() as client:
        statuses = [
            client.get(
                "/api/projects", headers={**WRONG, "X-Forwarded-For": f"203.0.113.{number}"}
            ).status_code
            for number in range(4)
        ]
        # All requests count for its own address, because this machine is not a trusted proxy here.
        assert statuses == [401, 401, 401, 429]
