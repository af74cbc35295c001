"""Which requests may run, and which one is next."""

import asyncio
import random
from collections.abc import Hashable

import pytest

from backend.http.fair_queue import FairQueue
from database.errors import DatabaseBusy

LONG = 30.0


async def settle() -> None:
    """Run the event loop until all tasks wait."""
    for _ in range(5):
        await asyncio.sleep(0)


class Waiters:
    """Tasks that wait for a slot, and the order in which they got one."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.order: list[Hashable] = []

    def wait(self, client: Hashable) -> "asyncio.Task[None]":
        async def have_it() -> None:
            await self.queue.wait(client)
            self.order.append(client)

        return asyncio.create_task(have_it())


async def test_as_many_as_there_are_slots_work_at_once() -> None:
    queue = FairQueue(2, LONG)
    assert [queue.take("a") for _ in range(3)] == [True, True, False]
    queue.give_back("a")
    assert queue.take("a")
    assert queue.free == 0


async def test_clients_take_turns_however_many_requests_they_have() -> None:
    queue = FairQueue(1, LONG)
    assert queue.take("d")
    waiters = Waiters(queue)
    tasks = [waiters.wait(client) for client in ("a", "a", "a", "a", "b", "c", "b")]
    await settle()
    assert queue.waiting == 7
    for client in ("d", *"abcaba"):
        queue.give_back(client)
        await settle()
    assert waiters.order == list("abcabaa")
    assert (queue.free, queue.waiting) == (0, 0)
    queue.give_back("a")
    assert (queue.free, len(tasks)) == (1, 7)


async def test_clients_that_have_something_to_do_share_the_slots() -> None:
    queue = FairQueue(5, LONG, linger=LONG)
    waiters = Waiters(queue)
    assert [queue.take("a") for _ in range(5)] == [True] * 5
    tasks = [waiters.wait("a") for _ in range(5)]
    assert not queue.take("b")
    tasks += [waiters.wait("b") for _ in range(5)]
    await settle()
    # Of five slots, each of two clients may have three, as far as slots are free.
    for _ in range(5):
        queue.give_back("a")
        await settle()
    assert waiters.order == list("bbaba")
    assert (queue.free, queue.waiting) == (0, 5)
    # A client without waiting requests keeps its share.
    for task in tasks:
        task.cancel()
    await settle()
    for client in waiters.order:
        queue.give_back(client)
    assert [queue.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert [queue.take("b") for _ in range(3)] == [True, True, False]


async def test_a_client_without_others_may_have_more_slots() -> None:
    queue = FairQueue(4, LONG, alone=8, linger=LONG)
    assert [queue.take("a") for _ in range(9)] == [True] * 8 + [False]
    waiters = Waiters(queue)
    tasks = [waiters.wait(client) for client in "aab"]
    await settle()
    for held in (7, 6, 5, 4):
        queue.give_back("a")
        await settle()
        # All slots for several clients are taken.
        assert (waiters.order, queue.free, held) == ([], 0, held)
    queue.give_back("a")
    await settle()
    # Only `b` holds less than its share.
    assert waiters.order == ["b"]
    for _ in range(3):
        queue.give_back("a")
        await settle()
    assert waiters.order == ["b", "a", "a"]
    assert (queue.free, len(tasks)) == (1, 3)


async def test_of_more_clients_than_slots_each_may_have_one() -> None:
    queue = FairQueue(2, LONG)
    waiters = Waiters(queue)
    assert queue.take("a")
    assert queue.take("a")
    tasks = [waiters.wait(client) for client in "aabcd"]
    await settle()
    for client in "aabcda":
        queue.give_back(client)
        await settle()
    assert waiters.order == list("bacda")
    await asyncio.gather(*tasks)


async def test_many_clients_with_little_to_do_leave_half_of_the_slots_to_others() -> None:
    queue = FairQueue(8, LONG, linger=LONG)
    for client in range(50):
        assert queue.take(client)
        queue.give_back(client)
    assert [queue.take("a") for _ in range(5)] == [True] * 4 + [False]
    assert [queue.take(client) for client in range(5)] == [True] * 4 + [False]


async def test_slots_of_a_client_that_left_go_to_those_that_wait() -> None:
    queue = FairQueue(4, LONG, linger=0.3)
    assert queue.take("gone")
    queue.give_back("gone")
    assert [queue.take("a") for _ in range(3)] == [True, True, False]
    waiters = Waiters(queue)
    # No slot is given back meanwhile.
    await asyncio.gather(waiters.wait("a"), waiters.wait("a"))
    assert (queue.free, queue.waiting) == (0, 0)
    for _ in range(4):
        queue.give_back("a")
    assert [queue.take("a") for _ in range(4)] == [True] * 4


async def test_a_new_request_takes_no_slot_before_those_that_wait() -> None:
    queue = FairQueue(1, LONG)
    assert queue.take("b")
    task = Waiters(queue).wait("a")
    await settle()
    queue.give_back("b")
    assert not queue.take("b")
    await task


async def test_a_waiter_that_waits_too_long_gets_an_error_and_no_slot() -> None:
    queue = FairQueue(1, 0.01)
    assert queue.take("first")
    with pytest.raises(DatabaseBusy) as told:
        await queue.wait("a")
    assert told.value.retry_after >= 1
    assert (queue.waiting, queue.refused) == (0, 1)
    queue.give_back("first")
    assert queue.free == 1


async def test_each_waits_for_its_own_time() -> None:
    queue = FairQueue(1, 0.05)
    assert queue.take("first")
    waiters = Waiters(queue)
    first = waiters.wait("a")
    await asyncio.sleep(0.03)
    second, third = waiters.wait("a"), waiters.wait("b")
    with pytest.raises(DatabaseBusy):
        await first
    assert (queue.waiting, queue.refused) == (2, 1)
    for task in (second, third):
        with pytest.raises(DatabaseBusy):
            await task
    assert (queue.waiting, queue.refused) == (0, 3)


async def test_a_waiter_that_is_cancelled_gets_no_slot() -> None:
    queue = FairQueue(1, LONG)
    assert queue.take("first")
    waiters = Waiters(queue)
    first, second = waiters.wait("a"), waiters.wait("a")
    await settle()
    first.cancel()
    await settle()
    queue.give_back("first")
    await second
    assert waiters.order == ["a"]
    assert (queue.free, queue.waiting) == (0, 0)


async def test_a_waiter_cancelled_at_its_turn_hands_the_slot_on() -> None:
    queue = FairQueue(1, LONG)
    assert queue.take("first")
    waiters = Waiters(queue)
    first, second = waiters.wait("a"), waiters.wait("b")
    await settle()
    queue.give_back("first")
    first.cancel()
    await second
    assert first.cancelled()
    assert waiters.order == ["b"]
    queue.give_back("b")
    assert queue.free == 1


async def test_a_waiter_cancelled_while_it_is_refused_hands_on_nothing() -> None:
    queue = FairQueue(1, LONG)
    assert queue.take("first")
    first = Waiters(queue).wait("a")
    await settle()
    queue._timeout = 0
    queue._expire()
    assert queue.refused == 1
    first.cancel()
    await settle()
    assert first.done()
    queue.give_back("first")
    assert queue.free == 1


@pytest.mark.parametrize("seed", range(5))
async def test_after_any_mixture_all_slots_are_there(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    queue = FairQueue(4, 0.02)
    working = most = 0

    async def work(client: int) -> None:
        nonlocal working, most
        if not queue.take(client):
            await queue.wait(client)
        working += 1
        most = max(most, working)
        try:
            await asyncio.sleep(chance.random() * 0.004)
        finally:
            working -= 1
            queue.give_back(client)

    tasks = [asyncio.create_task(work(chance.randrange(5))) for _ in range(200)]
    for task in chance.sample(tasks, 60):
        await asyncio.sleep(chance.random() * 0.001)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 4
    assert (working, queue.free, queue.waiting) == (0, 4, 0)
