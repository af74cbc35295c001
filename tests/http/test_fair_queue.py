"""Who may work, and who is next."""

import asyncio
import random
from collections.abc import Hashable

import pytest

from backend.http.fair_queue import Seats
from database.errors import DatabaseBusy

LONG = 30.0


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Waiters:
    """Tasks that wait for a seat, and the order in which they got one."""

    def __init__(self, seats: Seats) -> None:
        self.seats = seats
        self.order: list[Hashable] = []

    def wait(self, client: Hashable) -> "asyncio.Task[None]":
        async def have_it() -> None:
            await self.seats.wait(client)
            self.order.append(client)

        return asyncio.create_task(have_it())


async def test_as_many_as_there_are_seats_work_at_once() -> None:
    seats = Seats(2, LONG)
    assert [seats.take("a") for _ in range(3)] == [True, True, False]
    seats.give_back("a")
    assert seats.take("a")
    assert seats.free == 0


async def test_clients_take_turns_however_many_requests_they_have() -> None:
    seats = Seats(1, LONG)
    assert seats.take("d")
    waiters = Waiters(seats)
    tasks = [waiters.wait(client) for client in ("a", "a", "a", "a", "b", "c", "b")]
    await settle()
    assert seats.waiting == 7
    for client in ("d", *"abcaba"):
        seats.give_back(client)
        await settle()
    assert waiters.order == list("abcabaa")
    assert (seats.free, seats.waiting) == (0, 0)
    seats.give_back("a")
    assert (seats.free, len(tasks)) == (1, 7)


async def test_clients_that_have_something_to_do_share_the_seats() -> None:
    seats = Seats(5, LONG, linger=LONG)
    waiters = Waiters(seats)
    assert [seats.take("a") for _ in range(5)] == [True] * 5
    tasks = [waiters.wait("a") for _ in range(5)]
    assert not seats.take("b")
    tasks += [waiters.wait("b") for _ in range(5)]
    await settle()
    # Five seats for two are three for each, as far as there are any.
    for _ in range(5):
        seats.give_back("a")
        await settle()
    assert waiters.order == list("bbaba")
    assert (seats.free, seats.waiting) == (0, 5)
    # Whoever has nothing to do for the moment has its share all the same.
    for task in tasks:
        task.cancel()
    await settle()
    for client in waiters.order:
        seats.give_back(client)
    assert [seats.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert [seats.take("b") for _ in range(3)] == [True, True, False]


async def test_of_more_clients_than_seats_each_may_have_one() -> None:
    seats = Seats(2, LONG)
    waiters = Waiters(seats)
    assert seats.take("a")
    assert seats.take("a")
    tasks = [waiters.wait(client) for client in "aabcd"]
    await settle()
    for client in "aabcda":
        seats.give_back(client)
        await settle()
    assert waiters.order == list("bacda")
    await asyncio.gather(*tasks)


async def test_many_clients_with_little_to_do_leave_half_of_the_seats_to_others() -> None:
    seats = Seats(8, LONG, linger=LONG)
    for client in range(50):
        assert seats.take(client)
        seats.give_back(client)
    assert [seats.take("a") for _ in range(5)] == [True] * 4 + [False]
    assert [seats.take(client) for client in range(5)] == [True] * 4 + [False]


async def test_seats_of_a_client_that_went_away_are_for_those_who_wait() -> None:
    seats = Seats(4, LONG, linger=0.3)
    assert seats.take("gone")
    seats.give_back("gone")
    assert [seats.take("a") for _ in range(3)] == [True, True, False]
    waiters = Waiters(seats)
    # Nobody gives a seat back meanwhile.
    await asyncio.gather(waiters.wait("a"), waiters.wait("a"))
    assert (seats.free, seats.waiting) == (0, 0)
    for _ in range(4):
        seats.give_back("a")
    assert [seats.take("a") for _ in range(4)] == [True] * 4


async def test_nobody_takes_a_seat_before_those_who_wait() -> None:
    seats = Seats(1, LONG)
    assert seats.take("b")
    task = Waiters(seats).wait("a")
    await settle()
    seats.give_back("b")
    assert not seats.take("b")
    await task


async def test_who_waits_too_long_is_told_and_has_none() -> None:
    seats = Seats(1, 0.01)
    assert seats.take("first")
    with pytest.raises(DatabaseBusy) as told:
        await seats.wait("a")
    assert told.value.retry_after >= 1
    assert (seats.waiting, seats.refused) == (0, 1)
    seats.give_back("first")
    assert seats.free == 1


async def test_each_waits_for_its_own_time() -> None:
    seats = Seats(1, 0.05)
    assert seats.take("first")
    waiters = Waiters(seats)
    first = waiters.wait("a")
    await asyncio.sleep(0.03)
    second, third = waiters.wait("a"), waiters.wait("b")
    with pytest.raises(DatabaseBusy):
        await first
    assert (seats.waiting, seats.refused) == (2, 1)
    for task in (second, third):
        with pytest.raises(DatabaseBusy):
            await task
    assert (seats.waiting, seats.refused) == (0, 3)


async def test_who_is_cancelled_while_it_waits_has_none() -> None:
    seats = Seats(1, LONG)
    assert seats.take("first")
    waiters = Waiters(seats)
    first, second = waiters.wait("a"), waiters.wait("a")
    await settle()
    first.cancel()
    await settle()
    seats.give_back("first")
    await second
    assert waiters.order == ["a"]
    assert (seats.free, seats.waiting) == (0, 0)


async def test_who_is_cancelled_in_the_moment_of_its_turn_hands_the_seat_on() -> None:
    seats = Seats(1, LONG)
    assert seats.take("first")
    waiters = Waiters(seats)
    first, second = waiters.wait("a"), waiters.wait("b")
    await settle()
    seats.give_back("first")
    first.cancel()
    await second
    assert first.cancelled()
    assert waiters.order == ["b"]
    seats.give_back("b")
    assert seats.free == 1


async def test_who_is_cancelled_in_the_moment_it_is_refused_hands_on_nothing() -> None:
    seats = Seats(1, LONG)
    assert seats.take("first")
    first = Waiters(seats).wait("a")
    await settle()
    seats._timeout = 0
    seats._expire()
    assert seats.refused == 1
    first.cancel()
    await settle()
    assert first.done()
    seats.give_back("first")
    assert seats.free == 1


@pytest.mark.parametrize("seed", range(5))
async def test_after_any_mixture_all_seats_are_there(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    seats = Seats(4, 0.02)
    working = most = 0

    async def work(client: int) -> None:
        nonlocal working, most
        if not seats.take(client):
            await seats.wait(client)
        working += 1
        most = max(most, working)
        try:
            await asyncio.sleep(chance.random() * 0.004)
        finally:
            working -= 1
            seats.give_back(client)

    tasks = [asyncio.create_task(work(chance.randrange(5))) for _ in range(200)]
    for task in chance.sample(tasks, 60):
        await asyncio.sleep(chance.random() * 0.001)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 4
    assert (working, seats.free, seats.waiting) == (0, 4, 0)
