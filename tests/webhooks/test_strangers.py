"""Senders without the secret token: they learn nothing, and can't prevent other deliveries."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from backend.http.inbound_budget import SMALL_BYTES, InboundLimits
from config.settings import Settings
from tests.support.clients import Caller, token_of_first_start
from tests.support.http import manager_of, problem, row_counts
from tests.support.servers import PATIENCE, RunningServer
from tests.support.webhooks import PAYLOAD, deliver, headers_of, make_webhook, repair

# What they learn


async def webhooks_of_every_kind(client: httpx.AsyncClient, application: FastAPI) -> dict[str, int]:
    """The ids of webhooks that accept deliveries, or don't, for each reason."""
    ids = {
        "open": (await make_webhook(client))["id"],
        "of another type": (await make_webhook(client, webhook_type="custom"))["id"],
        "without a token": (await make_webhook(client, secret_token=None))["id"],
        "inactive": (await make_webhook(client, is_active=False))["id"],
    }
    deleted = await make_webhook(client)
    await client.delete(f"/api/projects/{deleted['project_id']}")
    ids["in a deleted project"] = deleted["id"]
    gone = await make_webhook(client)
    await client.delete(f"/api/webhooks/{gone['id']}")
    ids["gone"] = gone["id"]
    unreadable = (await make_webhook(client))["id"]
    ids["unreadable"] = unreadable
    await manager_of(application).async_pool.execute(
        "UPDATE webhooks SET secret_ciphertext = (SELECT secret_ciphertext FROM webhooks"
        " WHERE id = ?) WHERE id = ?",
        (ids["open"], unreadable),
    )
    return {**ids, "never there": 2**40}


@pytest.mark.parametrize("token", ["another", ""])
async def test_all_webhooks_look_the_same_to_those_who_can_not_sign(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, application: FastAPI, token: str
) -> None:
    ids = await webhooks_of_every_kind(client, application)
    before = row_counts(manager_of(application))
    same: dict[str, str | None] = {"X-Request-ID": "same"}
    answers = {}
    for kind, id in ids.items():
        answer = await deliver(sender, id, changes=same, token=token)
        problem(answer, "unauthenticated")
        answers[kind] = (answer.status_code, answer.headers.raw, answer.content)
    assert all(answer == answers["open"] for answer in answers.values()), answers
    assert row_counts(manager_of(application)) == before


async def test_no_webhook_answers_before_the_whole_body_is_there(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, application: FastAPI
) -> None:
    read: list[str] = []

    async def pieces(kind: str) -> AsyncIterator[bytes]:
        yield PAYLOAD[:5]
        yield PAYLOAD[5:]
        read.append(kind)

    ids = await webhooks_of_every_kind(client, application)
    headers = headers_of(PAYLOAD, token="another")
    for kind, id in ids.items():
        path = f"/api/webhooks/{id}/deliveries/github"
        answer = await sender.post(path, content=pieces(kind), headers=headers)
        problem(answer, "unauthenticated")
    assert read == list(ids)


async def test_a_webhook_whose_token_is_unreadable_takes_nothing(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, application: FastAPI
) -> None:
    ids = await webhooks_of_every_kind(client, application)
    problem(await deliver(sender, ids["unreadable"]), "unauthenticated")
    problem(await deliver(sender, ids["without a token"]), "unauthenticated")
    await repair(client, ids["unreadable"], "written again")
    assert (await deliver(sender, ids["unreadable"], token="written again")).status_code == 202


# How often they may try


class TestRefusedSignatures:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Three failures a minute."""
        return settings.model_copy(update={"failed_attempts_per_minute": 3})

    @pytest.mark.parametrize("claimed", [None, "sha256=0", "nothing of that form"])
    async def test_an_address_is_held_to_a_limit_and_valid_signatures_are_not(
        self, caller: Caller, webhook_id: int, claimed: str | None
    ) -> None:
        changes: dict[str, str | None] = {} if claimed is None else {"X-Hub-Signature-256": claimed}
        async with caller("192.0.2.1") as stranger, caller("192.0.2.2") as another:
            for id in (webhook_id, 99, webhook_id):
                answer = await deliver(stranger, id, changes=changes, token="another")
                problem(answer, "unauthenticated")
            for number, id in enumerate((webhook_id, 99, webhook_id)):
                answer = await deliver(stranger, id, changes=changes, token="another")
                problem(answer, "rate_limited")
                assert 1 <= int(answer.headers["retry-after"]) <= 20
                right = await deliver(stranger, webhook_id, guid=f"g-{number}")
                assert right.status_code == 202
            answer = await deliver(another, webhook_id, changes=changes, token="another")
            problem(answer, "unauthenticated")

    async def test_sending_no_signature_is_no_attempt(
        self, caller: Caller, webhook_id: int
    ) -> None:
        async with caller("192.0.2.1") as stranger:
            for _ in range(10):
                answer = await deliver(stranger, webhook_id, changes={"X-Hub-Signature-256": None})
                problem(answer, "unauthenticated")
            problem(await deliver(stranger, webhook_id, token="another"), "unauthenticated")

    async def test_wrong_tokens_and_wrong_signatures_count_together(
        self, caller: Caller, webhook_id: int
    ) -> None:
        wrong = {"Authorization": "Bearer sr_1_no"}
        async with caller("192.0.2.1") as stranger:
            for _ in range(3):
                problem(await stranger.get("/api/projects", headers=wrong), "unauthenticated")
            problem(await deliver(stranger, webhook_id, token="another"), "rate_limited")


# Memory and time


class Trickle:
    """A body that stops in the middle until its sender continues."""

    def __init__(self, first: bytes, declared: int | None = None) -> None:
        self._first = first
        self._declared = declared
        self.is_there = asyncio.Event()
        self._never = asyncio.Event()

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self._first
        self.is_there.set()
        await self._never.wait()

    def send(self, client: httpx.AsyncClient, webhook_id: int) -> asyncio.Task[httpx.Response]:
        """Send the request; it stays incomplete."""
        headers = headers_of(b"", token="another")
        if self._declared is not None:
            headers["Content-Length"] = str(self._declared)
        path = f"/api/webhooks/{webhook_id}/deliveries/github"
        return asyncio.ensure_future(client.post(path, content=self._pieces(), headers=headers))


@asynccontextmanager
async def trickling(
    caller: Caller, number: int, size: int, declared: int, webhook_ids: list[int]
) -> AsyncIterator[list["asyncio.Task[httpx.Response]"]]:
    """`number` requests from four addresses, each stopped after `size` bytes."""
    clients = [caller(f"192.0.2.{n}") for n in range(4)]
    requests = []
    for n in range(number):
        body = Trickle(b" " * size, declared)
        requests.append(body.send(clients[n % 4], webhook_ids[n % len(webhook_ids)]))
        await body.is_there.wait()
    yield requests
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    for client in clients:
        await client.aclose()


@pytest.mark.parametrize("number", [4, 40])
@pytest.mark.parametrize("elsewhere", [True, False], ids=["other-webhooks", "this-webhook"])
@pytest.mark.parametrize("declared", [SMALL_BYTES, 25 * 1024 * 1024], ids=["small", "large"])
async def test_bodies_that_trickle_keep_no_delivery_out(
    caller: Caller,
    application: FastAPI,
    webhook_id: int,
    number: int,
    elsewhere: bool,
    declared: int,
) -> None:
    limits = InboundLimits(small_bytes=4000, large_bytes=4000)
    application.state.inbound = limits
    ids = [98, 99, 100] if elsewhere else [webhook_id]
    async with (
        trickling(caller, number, 4000 // number, declared, ids) as requests,
        caller("140.82.115.1") as github,
    ):
        assert limits.used == 4000
        for n in range(3 * number):
            answer = await deliver(github, webhook_id, guid=f"small-{n}")
            assert answer.status_code == 202
        # It makes no difference that an address of the slow senders is used, or that the body needs
        # the whole room.
        async with caller("192.0.2.1") as near:
            for n, size in enumerate((1000, 2000, 4000)):
                body = b"{" + b" " * (size - 2) + b"}"
                answer = await deliver(near, webhook_id, body, guid=f"near-{n}")
                assert answer.status_code == 202
        ended = [request for request in requests if request.done()]
        assert bool(ended) == (declared == SMALL_BYTES)
        for request in ended:
            refused = await request
            problem(refused, "rate_limited")
            assert refused.headers["retry-after"] == "1"
    assert limits.used == 0
    assert limits.refused["no_room"] == len(ended)


async def test_large_bodies_leave_the_room_of_small_ones_alone(
    caller: Caller, application: FastAPI, webhook_id: int
) -> None:
    limits = application.state.inbound = InboundLimits(small_bytes=len(PAYLOAD), large_bytes=1000)
    async with trickling(caller, 4, 250, 2 * SMALL_BYTES, [webhook_id]) as requests:
        async with caller("192.0.2.1") as near:
            assert (await deliver(near, webhook_id)).status_code == 202
            # A body larger than the whole room for its kind can't be accepted.
            problem(await deliver(near, webhook_id, PAYLOAD + b" "), "rate_limited")
        assert limits.large.used == 1000
        assert not any(request.done() for request in requests)


async def test_a_body_whose_length_is_not_said_counts_as_a_large_one(
    caller: Caller, application: FastAPI, webhook_id: int
) -> None:
    limits = application.state.inbound = InboundLimits(small_bytes=10, large_bytes=1000)
    async with caller("192.0.2.1") as stranger:
        body = Trickle(b"{" * 400)
        request = body.send(stranger, webhook_id)
        await body.is_there.wait()
        assert (limits.small.used, limits.large.used) == (0, 400)
        request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert limits.used == 0


async def test_a_body_that_comes_too_slowly_is_given_up(
    sender: httpx.AsyncClient, application: FastAPI, webhook_id: int
) -> None:
    limits = application.state.inbound = InboundLimits(patience=0.05)
    answer = await Trickle(PAYLOAD[:1]).send(sender, webhook_id)
    problem(answer, "bad_request")
    assert (limits.used, limits.refused["too_slow"]) == (0, 1)
    assert (await deliver(sender, webhook_id)).status_code == 202


# As seen from outside


@pytest.fixture
def made(server: RunningServer, settings: Settings) -> int:
    """A webhook on a real server."""

    async def make() -> int:
        async with server.async_client(token_of_first_start(settings)) as client:
            return int((await make_webhook(client))["id"])

    return asyncio.run(make())


@pytest.fixture
def attack(server: RunningServer, made: int) -> Iterator[list[socket.socket]]:
    """Four connections that have sent all but the last byte of 25 MiB, with a wrong signature."""
    size = 25 * 1024 * 1024
    lines = [f"POST /api/webhooks/{made}/deliveries/github HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in headers_of(b"", token="another").items()]
    head = "\r\n".join([*lines, f"Content-Length: {size}", "", ""]).encode()
    limits: InboundLimits = server.app.state.inbound

    async def received() -> int:
        return limits.used

    with ExitStack() as stack:
        connections = []
        for _ in range(4):
            connection = stack.enter_context(server.connect())
            connection.sendall(head)
            connection.sendall(b" " * (size - 1))
            connections.append(connection)
        while server.submit(received()).result(PATIENCE) < 3 * (size - 1):
            pass
        yield connections


def test_four_bodies_of_25_mib_keep_no_signed_delivery_out(
    server: RunningServer, made: int, attack: list[socket.socket]
) -> None:
    async def deliver_all() -> list[int]:
        async with server.async_client() as github:
            large = b'{"x":"' + b"y" * (25 * 1024 * 1024 - 8) + b'"}'
            answers = [await deliver(github, made, guid=f"g-{n}") for n in range(10)]
            answers.append(await deliver(github, made, large, guid="large"))
            return [answer.status_code for answer in answers]

    assert len(attack) == 4
    assert asyncio.run(deliver_all()) == [202] * 11
