"""What browsers and what is between client and server rely on: CORS, compression."""

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from config.settings import Settings
from tests.http.support import make_project, problem, service_of

OURS = "https://app.example.com"
PREFLIGHT = {
    "Origin": OURS,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization, content-type, x-request-id",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As everywhere, with a front end of another origin."""
    return settings.model_copy(update={"cors_origins": (OURS,), "max_body_bytes": 5000})


async def test_a_preflight_of_a_configured_origin_needs_no_token(
    stranger: httpx.AsyncClient,
) -> None:
    response = await stranger.options("/api/projects/1", headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == OURS
    assert "PUT" in response.headers["access-control-allow-methods"]
    assert "Authorization" in response.headers["access-control-allow-headers"]
    assert "Origin" in response.headers["vary"]
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Access-Control-Request-Method": "TRACE"},
        {"Access-Control-Request-Headers": "x-sentinel"},
    ],
)
async def test_any_other_preflight_is_refused_with_a_problem(
    stranger: httpx.AsyncClient, changed: dict[str, str]
) -> None:
    response = await stranger.options("/api/projects/1", headers=PREFLIGHT | changed)
    problem(response, "bad_request")
    assert "access-control-allow-origin" not in response.headers
    assert "Origin" in response.headers["vary"]
    assert "sentinel" not in response.text
    assert "evil" not in response.text


async def test_errors_of_every_layer_can_be_read_by_the_page(
    client: httpx.AsyncClient, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(project_id: int) -> None:
        raise RuntimeError(project_id)

    monkeypatch.setattr(service_of(application), "get_full", broken)
    origin = {"Origin": OURS}
    wrong = {**origin, "Authorization": "Bearer no"}
    answers = {
        "unauthenticated": await client.get("/api/projects", headers=wrong),
        "not_found": await client.get("/nowhere", headers=origin),
        "method_not_allowed": await client.patch("/api/projects", headers=origin),
        "validation_failed": await client.post("/api/projects", json={}, headers=origin),
        "body_too_large": await client.post("/api/projects", content=b"x" * 6000, headers=origin),
        "internal": await client.get("/api/projects/1/full", headers=origin),
    }
    for code, response in answers.items():
        problem(response, code)
        assert response.headers["access-control-allow-origin"] == OURS
        assert "X-Request-ID" in response.headers["access-control-expose-headers"]
        assert response.headers["vary"] == "Origin"


async def test_another_origin_gets_an_answer_that_its_page_can_not_read(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/api/projects", headers={"Origin": "https://evil.example.com"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


async def test_a_page_can_read_what_it_made(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/projects", headers={"Origin": OURS})
    assert response.headers["access-control-allow-origin"] == OURS
    assert "access-control-allow-credentials" not in response.headers


@pytest.fixture
async def without_origins(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings.model_copy(update={"cors_origins": ()}))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://strongroom.test"
        ) as client,
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
    """Headers and undecoded body of a list that is worth compressing."""
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    request = client.build_request("GET", "/api/projects?limit=100", headers=headers)
    if accepted is None:
        del request.headers["Accept-Encoding"]
    response = await client.send(request, stream=True)
    body = b"".join([chunk async for chunk in response.aiter_raw()])
    return response.headers, body


async def test_a_large_list_is_compressed_for_who_accepts_it(client: httpx.AsyncClient) -> None:
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


@pytest.mark.parametrize(
    "accepted",
    ["identity", "br", "gzip;q=0", "gzip; q=0.0", "gzip ;q=0,br", "br, gzip;q=0.000", ""],
)
async def test_nobody_gets_an_encoding_that_they_did_not_accept(
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
