"""What browsers and proxies rely on: CORS and compression."""

import gzip
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from backend.http.fair_queue import FairQueue
from backend.main import create_app
from config.settings import Settings
from tests.support.clients import client_of
from tests.support.http import JSON, make_project, problem, service_of
from tests.support.routes import calls

OURS = "https://app.example.com"
ASKED = "authorization, content-type, x-request-id"
PREFLIGHT = {
    "Origin": OURS,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": ASKED,
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The usual settings, with a front end on another origin."""
    return settings.model_copy(
        update={"cors_origins": (OURS,), "max_body_bytes": 5000, "failed_attempts_per_minute": 4}
    )


EXPOSED = "ETag, Location, Link, Retry-After, X-Request-ID, Idempotency-Replayed"


def readable(response: httpx.Response) -> bool:
    """Whether a browser lets a page of `OURS` read the answer and its headers."""
    headers = response.headers
    return (
        headers.get_list("access-control-allow-origin") == [OURS]
        and headers.get_list("access-control-allow-credentials") == ["true"]
        and headers.get_list("access-control-expose-headers") == [EXPOSED]
        and "Origin" in headers["vary"]
    )


async def test_a_preflight_of_a_configured_origin_needs_no_token(
    stranger: httpx.AsyncClient,
) -> None:
    response = await stranger.options("/api/projects/1", headers=PREFLIGHT)
    assert response.status_code == 200
    assert readable(response)
    assert response.headers["access-control-allow-headers"] == ASKED
    assert "Origin" in response.headers["vary"]
    assert "Access-Control-Request-Headers" in response.headers["vary"]
    assert int(response.headers["access-control-max-age"]) > 0
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "asked",
    [
        "traceparent",
        "sentry-trace,baggage",
        "x-requested-with, if-match,  idempotency-key",
        "X-Anything_at.all!~",
        "",
    ],
)
async def test_a_preflight_may_ask_for_any_header(stranger: httpx.AsyncClient, asked: str) -> None:
    asking = {"Access-Control-Request-Headers": asked}
    response = await stranger.options("/api/projects/1", headers=PREFLIGHT | asking)
    assert response.status_code == 200
    assert readable(response)
    assert response.headers.get("access-control-allow-headers", "") == asked


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_preflight_may_ask_for_every_method(
    stranger: httpx.AsyncClient, method: str
) -> None:
    asking = {"Access-Control-Request-Method": method}
    response = await stranger.options("/api/projects/1", headers=PREFLIGHT | asking)
    assert response.status_code == 200
    assert method in response.headers["access-control-allow-methods"].split(", ")


async def test_a_public_page_of_a_configured_origin_may_call_a_private_address(
    stranger: httpx.AsyncClient,
) -> None:
    asking = {"Access-Control-Request-Private-Network": "true"}
    response = await stranger.options("/api/projects/1", headers=PREFLIGHT | asking)
    assert response.status_code == 200
    assert response.headers["access-control-allow-private-network"] == "true"
    without = await stranger.options("/api/projects/1", headers=PREFLIGHT)
    assert "access-control-allow-private-network" not in without.headers


async def test_every_route_can_be_called_after_a_preflight(
    stranger: httpx.AsyncClient, application: FastAPI
) -> None:
    for call in calls(application):
        path = re.sub(r"\{\w+\}", "1", call.template)
        asking = {"Access-Control-Request-Method": call.method}
        response = await stranger.options(path, headers=PREFLIGHT | asking)
        assert response.status_code == 200, str(call)
        assert readable(response), str(call)


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", "http://app.example.com", OURS + ":8443", ""]
)
async def test_a_preflight_of_another_origin_is_refused_with_a_problem(
    stranger: httpx.AsyncClient, origin: str
) -> None:
    response = await stranger.options("/api/projects/1", headers=PREFLIGHT | {"Origin": origin})
    document = problem(response, "bad_request")
    assert "STRONGROOM_CORS_ORIGINS" in document["detail"]
    assert "Origin" in response.headers["vary"]
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert "evil" not in response.text


@pytest.mark.parametrize(
    "changed",
    [
        {"Access-Control-Request-Method": "TRACE"},
        {"Access-Control-Request-Method": "patch"},
        {"Access-Control-Request-Method": ""},
        {"Access-Control-Request-Headers": "x-sentinel: 1"},
        {"Access-Control-Request-Headers": "a" * 60_000 + "(sentinel"},
    ],
)
async def test_a_refused_preflight_of_a_configured_origin_does_not_blame_the_origin(
    stranger: httpx.AsyncClient, changed: dict[str, str]
) -> None:
    response = await stranger.options("/api/projects/1", headers=PREFLIGHT | changed)
    document = problem(response, "bad_request")
    assert readable(response)
    assert "CORS_ORIGINS" not in document["detail"]
    assert "sentinel" not in response.text


async def test_errors_of_every_layer_can_be_read_by_the_page(
    client: httpx.AsyncClient, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(project_id: int) -> None:
        raise RuntimeError(project_id)

    monkeypatch.setattr(service_of(application).projects, "restore", broken)
    application.state.queues["reading"] = queue = FairQueue(1, 0.01)
    assert queue.take("another client")
    origin = {"Origin": OURS}
    wrong = {**origin, "Authorization": "Bearer no"}
    answers = {
        "unauthenticated": await client.get("/api/projects", headers=wrong),
        "not_found": await client.get("/nowhere", headers=origin),
        "method_not_allowed": await client.patch("/api/projects", headers=origin),
        "validation_failed": await client.post("/api/projects", json={}, headers=origin),
        "malformed_json": await client.post(
            "/api/projects", content=b"{", headers={**origin, **JSON}
        ),
        "unsupported_media_type": await client.post("/api/projects", content=b"x", headers=origin),
        "body_too_large": await client.post("/api/projects", content=b"x" * 6000, headers=origin),
        "headers_too_large": await client.get("/", headers={**origin, "X": "x" * 66_000}),
        "bad_request": await client.get("/api/projects/1%2F2", headers=origin),
        "database_busy": await client.get("/api/projects", headers=origin),
        "internal": await client.post("/api/projects/1/restore", headers=origin),
    }
    for _ in range(4):
        answers["rate_limited"] = await client.get("/api/projects", headers=wrong)
    for code, response in answers.items():
        problem(response, code)
        assert readable(response), code


class TestTrustedHosts:
    """Pages that call the service by a foreign name."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """One trusted name."""
        return settings.model_copy(update={"trusted_hosts": ("strongroom.example.com",)})

    async def test_they_can_read_why_and_their_preflights_are_refused(
        self, stranger: httpx.AsyncClient
    ) -> None:
        for method, headers in (("GET", {"Origin": OURS}), ("OPTIONS", PREFLIGHT)):
            response = await stranger.request(method, "/api/projects", headers=headers)
            problem(response, "bad_request")
            assert readable(response)


@pytest.mark.shared
async def test_another_origin_gets_an_answer_that_its_page_can_not_read(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/api/projects", headers={"Origin": "https://evil.example.com"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


async def test_a_page_can_read_what_it_made(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/projects", headers={"Origin": OURS})
    assert response.status_code == 200
    assert readable(response)


async def test_an_answer_without_an_origin_is_not_kept_for_one(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/projects")
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["vary"] == "Origin"


class TestEveryOrigin:
    """A development service that pages of any origin may call."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """`STRONGROOM_CORS_ORIGINS=*`."""
        return settings.model_copy(update={"cors_origins": ("*",)})

    async def test_a_page_is_named_since_it_may_send_credentials(
        self, client: httpx.AsyncClient
    ) -> None:
        preflight = await client.options("/api/projects", headers=PREFLIGHT)
        answer = await client.get("/api/projects", headers={"Origin": OURS})
        for response in (preflight, answer):
            assert response.status_code == 200
            assert readable(response)


@pytest.fixture
async def without_origins(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings.model_copy(update={"cors_origins": ()}))
    async with (
        app.router.lifespan_context(app),
        client_of(app) as client,
    ):
        yield client


async def test_without_configured_origins_there_is_no_cors(
    without_origins: httpx.AsyncClient,
) -> None:
    response = await without_origins.options("/api/projects", headers=PREFLIGHT)
    problem(response, "method_not_allowed")
    response = await without_origins.get("/health", headers={"Origin": OURS})
    assert not [name for name in response.headers if name.startswith("access-control")]


async def raw(client: httpx.AsyncClient, accepted: str | None) -> tuple[httpx.Headers, bytes]:
    """The headers and undecoded body of a list that is long enough to be compressed."""
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    request = client.build_request("GET", "/api/projects?limit=100", headers=headers)
    if accepted is None:
        del request.headers["Accept-Encoding"]
    response = await client.send(request, stream=True)
    body = b"".join([chunk async for chunk in response.aiter_raw()])
    return response.headers, body


@pytest.mark.shared
async def test_a_large_list_is_compressed_for_clients_that_accept_it(
    client: httpx.AsyncClient,
) -> None:
    for _ in range(40):
        await make_project(client)
    headers, plain = await raw(client, None)
    assert "content-encoding" not in headers
    assert len(plain) > 8 * 1024
    for accepted in ("gzip", "deflate, gzip;q=0.5", "gzip;q=1.0, identity", "br, gzip, *;q=0"):
        headers, body = await raw(client, accepted)
        assert headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in headers["vary"]
        assert int(headers["content-length"]) == len(body) < len(plain) / 3
        assert gzip.decompress(body) == plain


@pytest.mark.shared
@pytest.mark.parametrize(
    "accepted",
    ["identity", "br", "gzip;q=0", "gzip; q=0.0", "gzip ;q=0,br", "br, gzip;q=0.000", ""],
)
async def test_a_client_gets_only_encodings_that_it_accepts(
    client: httpx.AsyncClient, accepted: str
) -> None:
    for _ in range(40):
        await make_project(client)
    headers, body = await raw(client, accepted)
    assert "content-encoding" not in headers
    assert body.startswith(b'{"projects":[')


async def test_a_small_answer_is_not_compressed(client: httpx.AsyncClient) -> None:
    await make_project(client)
    headers, _ = await raw(client, "gzip")
    assert "content-encoding" not in headers
