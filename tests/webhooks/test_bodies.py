"""Bodies of deliveries: their size, their time limit, and who may send them."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from backend.http.fair_queue import FairQueue
from backend.http.inbound_budget import InboundLimits
from backend.http.route_policy import BodyLimits
from backend.routes import POLICIES
from config.settings import Settings
from tests.support.clients import token_of_first_start
from tests.support.http import JSON, problem
from tests.support.servers import RunningServer
from tests.support.webhooks import (
    PAYLOAD,
    TOKEN,
    deliver,
    headers_of,
    in_pieces,
    make_webhook,
    signature,
)

LIMIT = 25 * 1024 * 1024
LIMITS = BodyLimits(POLICIES)


def json_of(size: int) -> bytes:
    """A JSON object of `size` bytes."""
    return b'{"x":"' + b"y" * (size - 8) + b'"}'


async def pieces_of(size: int) -> AsyncIterator[bytes]:
    """A body of `size` spaces, without a declared length."""
    for _ in range(size // 65_536):
        yield b" " * 65_536
    yield b" " * (size % 65_536)


@pytest.mark.shared
async def test_a_body_of_exactly_the_limit_is_taken(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int
) -> None:
    body = json_of(LIMIT)
    assert len(body) == LIMIT
    answer = await deliver(sender, webhook_id, body)
    assert (answer.status_code, answer.json()["payload_bytes"]) == (202, LIMIT)
    shown = await client.get(answer.headers["location"])
    assert len(shown.json()["payload"]["x"]) == LIMIT - 8


@pytest.mark.shared
async def test_a_body_past_the_limit_is_refused_whether_it_says_so_or_not(
    sender: httpx.AsyncClient, webhook_id: int
) -> None:
    path = f"/api/webhooks/{webhook_id}/deliveries/github"
    said = await deliver(sender, webhook_id, json_of(LIMIT + 1))
    headers = headers_of(b"")
    unsaid = await sender.post(path, content=pieces_of(LIMIT + 1), headers=headers)
    for answer in (said, unsaid):
        assert f"{LIMIT}" in problem(answer, "body_too_large")["detail"]
    # With one byte less, only the signature is wrong.
    problem(await sender.post(path, content=pieces_of(LIMIT), headers=headers), "unauthenticated")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/projects"),
        ("PATCH", "/api/webhooks/1"),
        ("PUT", "/api/webhooks/1/deliveries/github"),
        ("POST", "/api/webhooks/1/deliveries"),
        ("POST", "/api/webhooks/1/deliveries/github/"),
        ("POST", "/api/webhooks/1/2/deliveries/github"),
    ],
)
async def test_no_other_route_takes_more_than_before(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    assert LIMITS.of(method, path) == 0
    body = json_of(1024 * 1024 + 1)
    detail = problem(
        await client.request(method, path, content=body, headers=JSON), "body_too_large"
    )
    assert "1048576" in detail["detail"]


def test_deliveries_alone_have_a_limit_of_their_own() -> None:
    assert [path for (_, path), policy in POLICIES.items() if policy.body_limit] == [
        "/api/webhooks/{webhook_id}/deliveries/github"
    ]
    assert LIMITS.of("POST", "/api/webhooks/7/deliveries/github") == LIMIT


class TestLargerForAll:
    """An installation with a larger limit for all bodies."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """The limit is slightly larger than the limit of deliveries."""
        return settings.model_copy(update={"max_body_bytes": LIMIT + 10})

    async def test_the_larger_limit_holds(self, sender: httpx.AsyncClient, webhook_id: int) -> None:
        path = f"/api/webhooks/{webhook_id}/deliveries/github"
        for size, code in ((LIMIT + 10, "unauthenticated"), (LIMIT + 11, "body_too_large")):
            answer = await sender.post(path, content=pieces_of(size), headers=headers_of(b""))
            problem(answer, code)


@pytest.mark.shared
async def test_a_compressed_delivery_is_refused(sender: httpx.AsyncClient, webhook_id: int) -> None:
    for body in (PAYLOAD, gzip.compress(PAYLOAD)):
        answer = await deliver(sender, webhook_id, body, {"Content-Encoding": "gzip"})
        assert "Content-Encoding" in problem(answer, "unsupported_media_type")["detail"]
    assert (await deliver(sender, webhook_id)).status_code == 202


@pytest.mark.shared
async def test_what_is_wrong_with_the_encoding_of_a_delivery_is_named(
    sender: httpx.AsyncClient, webhook_id: int
) -> None:
    for encoding, named in (("utf-8-sig", "a byte order mark"), ("utf-16-le", "UTF-16")):
        answer = await deliver(sender, webhook_id, PAYLOAD.decode().encode(encoding))
        assert named in problem(answer, "malformed_json")["detail"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"action":"cut \\ud83d"}', "unpaired_surrogate"),
        (b'{"commits":[{},{"message":"\\uDE00 cut"}]}', "unpaired_surrogate"),
        (b'{"commits":[{},{"message":"\xe9"}]}', "not_utf8"),
        (b'{"number":NaN}', "not_a_number"),
        (b'{"number":7,"action":}', "not_json"),
        pytest.param(b"[" * 100_000, "json_depth", id="deep"),
    ],
)
async def test_what_is_wrong_with_a_payload_is_named(
    sender: httpx.AsyncClient, webhook_id: int, body: bytes, code: str
) -> None:
    # The names of its members are the sender's, and are not repeated.
    [error] = problem(await deliver(sender, webhook_id, body), "malformed_json")["errors"]
    assert error["code"] == code
    padded = body + b" " * 1_000_000
    assert "errors" not in problem(await deliver(sender, webhook_id, padded), "malformed_json")


class TestNoSlot:
    """All slots for writes are in use."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """A short timeout."""
        return settings.model_copy(
            update={"max_concurrent_requests": 1, "db_queue_timeout_seconds": 0.1}
        )

    async def test_a_delivery_waits_for_its_turn_like_what_tokens_write(
        self, sender: httpx.AsyncClient, application: FastAPI, webhook_id: int
    ) -> None:
        queue: FairQueue = application.state.queues["writing"]
        async with queue.slot("another"):
            refused = await deliver(sender, webhook_id)
            problem(refused, "database_busy")
            assert refused.headers["retry-after"] == "1"
        # The same delivery is new when it is sent again: nothing of it was stored.
        assert (await deliver(sender, webhook_id)).status_code == 202
        assert queue.free == 1


# Before a body is read, as only a socket shows it


@pytest.fixture
def made(server: RunningServer, settings: Settings) -> int:
    """A webhook on a real server."""

    async def make() -> int:
        async with server.async_client(token_of_first_start(settings)) as client:
            return int((await make_webhook(client))["id"])

    return asyncio.run(make())


def answer_to(server: RunningServer, head: str) -> dict[str, object]:
    """The answer to a request's head alone; its body is never sent."""
    with server.connect() as connection:
        connection.sendall(f"{head}\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode())
        text = b""
        while not text.endswith(b"}"):
            piece = connection.recv(65_536)
            assert piece, text
            text += piece
        document: dict[str, object] = json.loads(text.partition(b"\r\n\r\n")[2])
        return document


def head_of(webhook_id: int, **changes: str) -> str:
    headers = {**headers_of(b"whatever it may be"), **changes}
    lines = [f"POST /api/webhooks/{webhook_id}/deliveries/github HTTP/1.1"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())])


def test_a_sender_who_can_not_be_right_is_refused_before_the_body_comes(
    server: RunningServer, made: int
) -> None:
    unsigned = head_of(made).replace("X-Hub-Signature-256", "X-Hub-Signature")
    for head, code in (
        (unsigned, "unauthenticated"),
        (head_of(made, **{"X-Hub-Signature-256": "sha256=0"}), "unauthenticated"),
        (head_of(made, **{"Content-Type": "text/plain"}), "unsupported_media_type"),
        (head_of(made, **{"X-GitHub-Event": ""}), "bad_request"),
        (head_of(made, **{"X-GitHub-Delivery": ""}), "bad_request"),
    ):
        assert answer_to(server, head)["code"] == code


def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(
    server: RunningServer, made: int
) -> None:
    limits: InboundLimits = server.app.state.inbound
    with server.connect() as connection:
        head = head_of(made, **{"X-Hub-Signature-256": signature(PAYLOAD)})
        connection.sendall(f"{head}\r\nHost: x\r\nContent-Length: {len(PAYLOAD)}\r\n\r\n".encode())
        connection.sendall(PAYLOAD[:10])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65_536) == b""

    async def deliver_again() -> httpx.Response:
        async with server.async_client() as sender:
            return await deliver(sender, made)

    assert asyncio.run(deliver_again()).status_code == 202
    assert limits.used == 0


@pytest.mark.shared
async def test_nothing_is_looked_into_before_its_signature_was_checked(
    sender: httpx.AsyncClient, webhook_id: int
) -> None:
    path = f"/api/webhooks/{webhook_id}/deliveries/github"
    for body in (b"{", b"\xff", b"[" * 100_000):
        headers = headers_of(body, token="another")
        problem(
            await sender.post(path, content=in_pieces(body), headers=headers), "unauthenticated"
        )
        problem(await deliver(sender, webhook_id, body), "malformed_json")


@pytest.mark.shared
async def test_no_body_is_refused_whatever_its_signature(
    sender: httpx.AsyncClient, webhook_id: int
) -> None:
    for token in (TOKEN, "another"):
        problem(await deliver(sender, webhook_id, b"", token=token), "malformed_json")
    # A body without a declared length is read first.
    path = f"/api/webhooks/{webhook_id}/deliveries/github"
    for token, code in ((TOKEN, "malformed_json"), ("another", "unauthenticated")):
        headers = headers_of(b"", token=token)
        problem(await sender.post(path, content=in_pieces(b""), headers=headers), code)
