"""A client with many connections gets no more of the event loop's turns than another one."""

import asyncio
import itertools

import httpx
from fastapi import FastAPI

from backend.http.kept_turns import LINGER_SECONDS, PER_TURN, KeptTurns
from tests.support.asgi import Head, exchanged
from tests.support.clients import new_token
from tests.support.http import make_project

MANY = 8 * PER_TURN


def take(turns: KeptTurns, client: str) -> bool:
    """Take an answer of this turn."""
    return turns.take(client, asyncio.get_running_loop())


async def _answers(turns: KeptTurns, client: str, number: int, order: list[str]) -> None:
    async def ask() -> None:
        if not take(turns, client):
            await turns.wait(client)
        order.append(client)

    await asyncio.gather(*(ask() for _ in range(number)))


async def test_a_client_alone_waits_for_no_turn() -> None:
    turns = KeptTurns()
    assert all(take(turns, "alone") for _ in range(MANY))


async def test_many_requests_of_a_client_do_not_hold_up_the_few_of_another() -> None:
    turns, order = KeptTurns(), list[str]()
    assert take(turns, "few")
    await asyncio.gather(_answers(turns, "many", MANY, order), _answers(turns, "few", 3, order))
    assert order.index("few") <= PER_TURN
    assert [*order].count("few") == 3
    assert order[: PER_TURN + 3].count("few") == 3
    assert order.count("many") == MANY


async def test_each_of_two_clients_gets_as_much_of_each_turn() -> None:
    turns, order = KeptTurns(), list[str]()
    assert take(turns, "a")
    assert take(turns, "b")
    await asyncio.gather(*(_answers(turns, name, MANY, order) for name in ("a", "b")))
    ahead = itertools.accumulate(1 if name == "a" else -1 for name in order)
    assert max(map(abs, ahead)) <= PER_TURN
    assert order.count("a") == order.count("b") == MANY


async def test_a_client_that_leaves_while_it_waits_takes_nothing_with_it() -> None:
    turns = KeptTurns()
    assert take(turns, "other")
    for _ in range(PER_TURN):
        assert take(turns, "many")
    waiting = [asyncio.create_task(turns.wait("many")) for _ in range(3)]
    await asyncio.sleep(0)
    assert not take(turns, "many")
    waiting[0].cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, type(None), type(None)]
    assert take(turns, "many")


async def test_a_client_is_forgotten_when_it_asks_no_more() -> None:
    now = 0.0
    turns = KeptTurns(lambda: now)
    assert take(turns, "gone")
    await asyncio.sleep(0)
    now = 2 * LINGER_SECONDS
    assert take(turns, "alone")
    await asyncio.sleep(0)
    assert all(take(turns, "alone") for _ in range(MANY))


def test_each_event_loop_begins_without_what_another_left() -> None:
    turns = KeptTurns()

    async def take_all() -> bool:
        return take(turns, "other") and all(take(turns, "many") for _ in range(PER_TURN))

    assert asyncio.run(take_all())
    assert asyncio.run(take_all())


async def test_kept_answers_are_shared_between_tokens(
    application: FastAPI, client: httpx.AsyncClient
) -> None:
    await make_project(client)
    tokens = [await new_token(client, "projects:read") for _ in range(2)]
    order: list[str] = []

    async def ask(token: str) -> None:
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {token}".encode())]
        await exchanged(application, Head("/api/projects/1", headers=headers))
        order.append(token)

    many, few = tokens
    # The first request of each is the look-up of its token.
    for token in tokens * 2:
        await ask(token)
    order.clear()
    await asyncio.gather(*(ask(many) for _ in range(MANY)), *(ask(few) for _ in range(3)))
    assert order.index(few) <= 2 * PER_TURN
    assert order[-1] == many
