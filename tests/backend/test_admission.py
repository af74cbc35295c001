"""Who may work, and who is next."""

import asyncio
import random
from collections.abc import Hashable

import pytest

from backend.admission import Seats
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
    assert [seats.take(), seats.take(), seats.take()] == [True, True, False]
    seats.give_back()
    assert seats.take()
    assert seats.free == 0


async def test_clients_take_turns_however_many_requests_they_have() -> None:
    seats = Seats(1, LONG)
    assert seats.take()
    waiters = Waiters(seats)
    tasks = [waiters.wait(client) for client in ("a", "a", "a", "a", "b", "c", "b")]
    await settle()
    assert seats.waiting == 7
    for _ in tasks:
        seats.give_back()
        await settle()
    assert waiters.order == ["a", "b", "c", "a", "b", "a", "a"]
    assert (seats.free, seats.waiting) == (0, 0)
    seats.give_back()
    assert seats.free == 1


async def test_nobody_takes_a_seat_before_those_who_wait() -> None:
    seats = Seats(1, LONG)
    assert seats.take()
    task = Waiters(seats).wait("a")
    await settle()
    seats.give_back()
    assert not seats.take()
    await task


async def test_who_waits_too_long_is_told_and_has_none() -> None:
    seats = Seats(1, 0.01)
    assert seats.take()
    with pytest.raises(DatabaseBusy) as told:
        await seats.wait("a")
    assert told.value.retry_after >= 1
    assert (seats.waiting, seats.refused) == (0, 1)
    seats.give_back()
    assert seats.free == 1


async def test_each_waits_for_its_own_time() -> None:
    seats = Seats(1, 0.05)
    assert seats.take()
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
    assert seats.take()
    waiters = Waiters(seats)
    first, second = waiters.wait("a"), waiters.wait("a")
    await settle()
    first.cancel()
    await settle()
    seats.give_back()
    await second
    assert waiters.order == ["a"]
    assert (seats.free, seats.waiting) == (0, 0)


async def test_who_is_cancelled_in_the_moment_of_its_turn_hands_the_seat_on() -> None:
    seats = Seats(1, LONG)
    assert seats.take()
    waiters = Waiters(seats)
    first, second = waiters.wait("a"), waiters.wait("b")
    await settle()
    seats.give_back()
    first.cancel()
    await second
    assert first.cancelled()
    assert waiters.order == ["b"]
    seats.give_back()
    assert seats.free == 1


async def test_who_is_cancelled_in_the_moment_it_is_refused_hands_on_nothing() -> None:
    seats = Seats(1, LONG)
    assert seats.take()
    first = Waiters(seats).wait("a")
    await settle()
    seats._timeout = 0
    seats._expire()
    assert seats.refused == 1
    first.cancel()
    await settle()
    assert first.done()
    seats.give_back()
    assert seats.free == 1


@pytest.mark.parametrize("seed", range(5))
async def test_after_any_mixture_all_seats_are_there(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    seats = Seats(4, 0.02)
    working = most = 0

    async def work(client: int) -> None:
        nonlocal working, most
        if not seats.take():
            await seats.wait(client)
        working += 1
        most = max(most, working)
        try:
            await asyncio.sleep(chance.random() * 0.004)
        finally:
            working -= 1
            seats.give_back()

    tasks = [asyncio.create_task(work(chance.randrange(5))) for _ in range(200)]
    for task in chance.sample(tasks, 60):
        await asyncio.sleep(chance.random() * 0.001)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 4
    assert (working, seats.free, seats.waiting) == (0, 4, 0)
