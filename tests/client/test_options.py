"""Where a client finds its service and its token, and what it never shows."""

import inspect
import logging
import pickle

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

import strongroom
from strongroom import AsyncClient, Client, SecretValues
from strongroom._options import DEFAULT_LIMITS
from strongroom._values import encode
from strongroom.models import SecretReveal, TokenCreated
from tests.client.conftest import Connect, new_project
from tests.support.servers import RunningServer

TOKEN = "sr_a-made-up-token"
VALUE = "a-made-up-value"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRONGROOM_URL", raising=False)
    monkeypatch.delenv("STRONGROOM_TOKEN", raising=False)


@pytest.mark.parametrize("kind", [AsyncClient, Client])
def test_the_environment_says_where_the_service_is(
    kind: type[AsyncClient] | type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(strongroom.NotConfigured, match="STRONGROOM_URL"):
        kind(token=TOKEN)
    monkeypatch.setenv("STRONGROOM_URL", "http://service.test:8000/")
    with pytest.raises(strongroom.NotConfigured, match="STRONGROOM_TOKEN"):
        kind()
    monkeypatch.setenv("STRONGROOM_TOKEN", TOKEN)
    assert kind().url == "http://service.test:8000"
    assert kind("https://other.test/below").url == "https://other.test/below"


@pytest.mark.parametrize(
    "url",
    [
        "service.test",
        "ftp://service.test",
        "http://",
        "http://x?a=b",
        "http://n:p@x",
        " ",
    ],
)
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(strongroom.NotConfigured):
        AsyncClient(url, TOKEN)


def test_a_wrong_token_is_refused_and_not_shown() -> None:
    for token in ("a b", "a\nb", "ü"):
        with pytest.raises(strongroom.NotConfigured) as caught:
            AsyncClient("http://service.test", token)
        assert token not in str(caught.value)


async def test_what_is_sent(token: str) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204, headers={"Set-Cookie": "a=b"})

    async with AsyncClient(
        "http://service.test/below", f" {token}\n", transport=httpx.MockTransport(answer)
    ) as client:
        for _ in range(2):
            await client.tokens.delete(1)
    assert seen[1].url == "http://service.test/below/api/tokens/1"
    assert seen[1].headers["authorization"] == f"Bearer {token}"
    assert "cookie" not in seen[1].headers


async def test_no_token_is_sent_if_it_is_empty() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return httpx.Response(200, json={"status": "healthy", "service": "strongroom"})

    async with AsyncClient("http://x.test", "", transport=httpx.MockTransport(answer)) as client:
        await client.system.health()


def test_idle_connections_are_closed_before_the_service_closes_them() -> None:
    defaults = inspect.signature(uvicorn.Config).parameters
    assert DEFAULT_LIMITS.keepalive_expiry is not None
    assert DEFAULT_LIMITS.keepalive_expiry < defaults["timeout_keep_alive"].default


def test_values_are_in_no_repr() -> None:
    client = AsyncClient("http://service.test", TOKEN)
    values = SecretValues({"KEY": VALUE}, {"KEY": 1})
    reveal = SecretReveal(key="KEY", value=VALUE, version=1)
    for thing in (client, client.__dict__, values, reveal, [values], {"a": reveal}):
        text = f"{thing!r} {thing}"
        assert VALUE not in text
        assert TOKEN not in text
    assert values == {"KEY": VALUE}
    assert pickle.loads(pickle.dumps(values)).versions == {"KEY": 1}  # noqa: S301
    assert not TokenCreated.model_fields["token"].repr


def test_secret_strings_are_sent_as_they_are() -> None:
    assert encode({"a": [SecretStr(VALUE)]}) == b'{"a":["a-made-up-value"]}'
    with pytest.raises(ValueError, match="surrogate") as caught:
        encode({"a": f"{VALUE}\ud800"})
    assert caught.value.__cause__ is None
    for wrong in (b"bytes", object()):
        with pytest.raises(TypeError, match="JSON has no"):
            encode({"a": wrong})


async def test_no_value_is_logged_or_in_an_error(
    caplog: pytest.LogCaptureFixture, python: AsyncClient, service: RunningServer, connect: Connect
) -> None:
    caplog.set_level(logging.DEBUG)
    project = await new_project(python, secrets={"KEY": VALUE})
    await python.secrets.value(project.id, "KEY")
    await python.secrets.reveal(project.id)
    made = await python.tokens.create(name="t", scopes=["projects:read"])
    for call in (
        python.secrets.create(project.id, key="KEY", value=VALUE),
        python.secrets.put(project.id, "no key", value=VALUE),
        connect(service.url, made.token).secrets.update(project.id, {"A": VALUE}),
        connect("http://127.0.0.1:9", made.token, max_retries=0).secrets.update(1, {"A": VALUE}),
    ):
        with pytest.raises(strongroom.StrongroomError) as caught:
            await call
        assert VALUE not in f"{caught.value!r} {caught.value} {caught.value.problem}"
        assert made.token not in f"{caught.value!r} {caught.value.problem}"
    assert VALUE not in caplog.text
    assert made.token not in caplog.text
