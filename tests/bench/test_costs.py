"""The parts of a request add up to the whole, and every probe finds its function."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.costs import meter
from bench.costs.meter import LOOP, THREADS, Cost, probed, probed_coroutine, snapshot
from bench.costs.table import OTHERS, REST, WHOLE, Spent, add_up, spent

pytestmark = pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="the benchmark needs Linux"
)

ROOT = Path(__file__).parent.parent.parent
SHORT_SECONDS = 0.02


def _work() -> None:
    until = time.thread_time() + SHORT_SECONDS
    while time.thread_time() < until:
        pass


def _spent(before: dict, after: dict, part: str) -> float:  # type: ignore[type-arg]
    return float(after["spent"][part] - before["spent"].get(part, 0)) / 1e9


def test_a_part_has_the_time_of_its_functions_without_those_that_they_call() -> None:
    inner = probed(_work, "inner")

    def both() -> None:
        _work()
        inner()

    before = snapshot()
    probed(both, "outer")()
    after = snapshot()
    for part in ("inner", "outer"):
        assert _spent(before, after, part) >= SHORT_SECONDS * 0.99
    # Together they are the thread's time, so neither has what belongs to the other.
    whole = (after["process"] - before["process"]) / 1e9
    assert _spent(before, after, "inner") + _spent(before, after, "outer") <= whole


async def test_waiting_belongs_to_no_part_and_a_coroutine_keeps_its_results_and_errors() -> None:
    given = asyncio.Event()

    async def waits(error: Exception | None) -> str:
        await given.wait()
        if error is not None:
            raise error
        return "done"

    call = probed_coroutine(waits, "waits")
    task = asyncio.create_task(call(None))
    await asyncio.sleep(0)
    before = snapshot()
    _work()
    after = snapshot()
    given.set()
    assert await task == "done"
    assert after["spent"]["waits"] == before["spent"]["waits"]
    with pytest.raises(LookupError, match="lost"):
        await call(LookupError("lost"))


async def test_a_cancelled_coroutine_gets_its_cancellation() -> None:
    told = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    task = asyncio.create_task(probed_coroutine(waits, "waits")())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["cancelled"]


def test_the_time_of_another_thread_outside_of_probes_has_a_part() -> None:
    entered, ended = threading.Event(), threading.Event()

    def run() -> None:
        probed(lambda: None, "short")()
        _work()
        entered.set()
        ended.wait()

    before = snapshot()
    thread = threading.Thread(target=run)
    thread.start()
    entered.wait()
    after = snapshot()
    ended.set()
    thread.join()
    assert _spent(before, after, THREADS) >= SHORT_SECONDS * 0.99


def test_probes_cost_something_on_both_sides() -> None:
    for cost in meter.calibrate().values():
        assert cost.inside + cost.around > 0


COSTS = {"call": Cost(100.0, 200.0), "step": Cost(300.0, 400.0)}


def test_a_difference_of_snapshots_is_told_for_each_request() -> None:
    before = {"process": 1_000, "spent": {LOOP: 500}, "entered": [[LOOP, "edge", "call", 1]]}
    after = {
        "process": 41_000,
        "spent": {LOOP: 10_500, "edge": 20_000},
        "entered": [[LOOP, "edge", "call", 11], [LOOP, "edge", "step", 5]],
    }
    found = spent(before, after, COSTS, 10)
    assert found.whole == 4.0
    assert found.parts == {LOOP: 1.0, "edge": 2.0, OTHERS: 1.0}
    assert sum(found.parts.values()) == found.whole
    # Ten calls and five steps in ten requests.
    assert found.probes == {"edge": pytest.approx(0.25), LOOP: pytest.approx(0.4)}


def test_parts_and_rest_add_up_to_the_whole_without_probes() -> None:
    once = Spent(120.0, {LOOP: 70.0, "edge": 50.0}, {LOOP: 6.0, "edge": 4.0})
    # The second set of probes costs 20, twice of what they cost alone.
    table = add_up(once, 140.0, 103.0)
    assert table[LOOP] == pytest.approx(58.0)
    assert table["edge"] == pytest.approx(42.0)
    assert table[REST] == pytest.approx(3.0)
    assert table[WHOLE] == 103.0
    assert table[LOOP] + table["edge"] + table[REST] == pytest.approx(table[WHOLE])


def test_the_product_has_every_function_that_is_probed() -> None:
    # In a process of its own, because probes stay until its end.
    code = (
        "import json, sys\n"
        "from bench.costs.probes import PROBES, install\n"
        "install()\n"
        "import backend.main\n"
        "print(json.dumps(len(PROBES)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) > 20
