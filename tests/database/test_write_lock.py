"""Turns of writers: in order, and never lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

from database.sqlite.write_lock import WriteLock
from tests.database.engine import LONG


def test_it_is_held_by_one_at_a_time() -> None:
    lock = WriteLock()
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            assert lock.acquire(LONG)
            inside += 1
            most = max(most, inside)
            inside -= 1
            lock.release()

    with ThreadPoolExecutor(8) as threads:
        for result in [threads.submit(work) for _ in range(8)]:
            result.result()
    assert most == 1
    assert lock.acquire(0)


def test_it_is_handed_over_in_the_order_of_asking() -> None:
    lock = WriteLock()
    order: list[int] = []
    assert lock.acquire(0)

    def work(number: int) -> None:
        assert lock.acquire(LONG)
        order.append(number)
        lock.release()

    threads = []
    for number in range(5):
        thread = threading.Thread(target=work, args=(number,))
        thread.start()
        threads.append(thread)
        while len(lock._turns) <= number:
            pass
    lock.release()
    for thread in threads:
        thread.join(LONG)
    assert order == [0, 1, 2, 3, 4]


def test_a_waiter_that_gave_up_is_passed_over() -> None:
    lock = WriteLock()
    assert lock.acquire(0)
    assert not lock.acquire(0.01)
    assert not lock.acquire(0)
    lock.release()
    assert lock.acquire(0)
    lock.release()


def test_a_turn_that_comes_as_the_wait_ends_is_not_lost() -> None:
    lock = WriteLock()
    held = threading.Event()
    results: list[bool] = []

    def hold_shortly() -> None:
        assert lock.acquire(LONG)
        held.set()
        lock.release()

    # Whatever the outcome of each race, no thread may keep the lock.
    for _ in range(300):
        thread = threading.Thread(target=hold_shortly)
        thread.start()
        held.wait(LONG)
        held.clear()
        got = lock.acquire(0.00001)
        results.append(got)
        if got:
            lock.release()
        thread.join(LONG)
    assert lock.acquire(0)
    assert any(results)


def test_it_may_be_released_by_another_thread() -> None:
    lock = WriteLock()
    assert lock.acquire(0)
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join(LONG)
    assert lock.acquire(0)
