"""Runs that are lost or cancelled, connections that break, and workers that are stopped."""

import asyncio
import random
from collections import Counter

import pytest

import strongroom
from strongroom import AsyncClient, Run, Worker
from strongroom.models import Project
from tests.client.conftest import at_once
from tests.client.proxy import BREAKS, Fate, Proxy
from tests.support.servers import RunningServer
from tests.worker.conftest import Start, ended, reached, working

__all__ = ["at_once"]


class Oven:
    """A handler that goes on until it is cancelled, or told to end."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.done = asyncio.Event()

    async def __call__(self, run: Run) -> str:
        self.started.set()
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            run.log("turned off")
            self.cancelled.set()
            raise
        return "baked"


async def test_a_run_that_a_user_cancels_is_cancelled_at_once(
    client: AsyncClient, project: Project, start: Start
) -> None:
    oven = Oven()
    # The next heartbeat is in 20 minutes.
    start(oven, lease_seconds=3600)
    run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    await oven.started.wait()
    async with client.logs.stream(agent_run_id=run.id, after=0) as logs:
        await client.agent_runs.cancel(run.id, result="burnt")
        await oven.cancelled.wait()
        assert (await anext(logs)).message == "turned off"
    done = await client.agent_runs.get(run.id)
    assert (done.status, done.result) == ("cancelled", "burnt")
    # The worker goes on.
    oven.done.set()
    other = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    assert (await ended(client, other.id)).result == "baked"


async def test_a_handler_that_goes_on_after_its_cancellation_reports_nothing(
    client: AsyncClient, project: Project, start: Start
) -> None:
    oven = Oven()

    async def stubborn(run: Run) -> str:
        try:
            return await oven(run)
        except asyncio.CancelledError:
            return "baked all the same"

    start(stubborn, lease_seconds=3600)
    run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    await oven.started.wait()
    await client.agent_runs.cancel(run.id)
    await oven.cancelled.wait()
    other = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    oven.done.set()
    assert (await ended(client, other.id)).result == "baked"
    assert (await client.agent_runs.get(run.id)).result is None


@pytest.mark.usefixtures("at_once")
async def test_a_run_that_another_has_is_cancelled(
    client: AsyncClient, project: Project, service: RunningServer, token: str
) -> None:
    is_cut = False
    oven = Oven()
    async with (
        Proxy(service.address, lambda: Fate.BEFORE if is_cut else Fate.PASSED) as proxy,
        AsyncClient(proxy.url, token) as own,
        working(own, oven, project, lease_seconds=1),
    ):
        run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
        await oven.started.wait()
        is_cut = True
        await proxy.cut()
        other = None
        while other is None:
            other = await client.agent_runs.claim(worker="o", project_ids=[project.id], wait=30)
        assert other.id == run.id
        assert not oven.cancelled.is_set()
        is_cut = False
        await oven.cancelled.wait()
        done = await client.agent_runs.transition(
            run.id, to="completed", result="the other's", lease_token=other.lease_token
        )
        assert done.result == "the other's"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("count", [15, pytest.param(300, marks=pytest.mark.long_form)])
async def test_connections_that_break_at_random(
    client: AsyncClient,
    project: Project,
    service: RunningServer,
    token: str,
    count: int,
) -> None:
    dice = random.Random(19)  # noqa: S311
    calls: Counter[int] = Counter()

    async def handler(run: Run) -> str:
        calls[run.id] += 1
        for number in range(3):
            run.log(str(number))
        await run.pipeline_state("testing")
        await run.test_results([{"test_type": "unit", "test_name": "crust", "status": "passed"}])
        return str(run.run_number)

    def decide() -> Fate:
        return dice.choice(BREAKS) if dice.random() < 0.3 else Fate.PASSED

    runs = [
        await client.agent_runs.create(project_id=project.id, target_text="Bake")
        for _ in range(count)
    ]
    async with (
        Proxy(service.address, decide) as proxy,
        AsyncClient(proxy.url, token) as own,
        working(own, handler, project, concurrency=4),
    ):
        done = [await ended(client, run.id) for run in runs]
        assert proxy.breaks > count
    assert [run.result for run in done] == [str(run.run_number) for run in runs]
    assert calls == Counter({run.id: 1 for run in runs})
    for run in runs[:15]:
        logs = [log.message async for log in client.logs.list(agent_run_id=run.id, after_id=0)]
        assert logs == ["0", "1", "2"]
        assert len([state async for state in client.pipeline_states.list(run.id)]) == 1


async def test_a_worker_without_runs_stops_at_once(client: AsyncClient, project: Project) -> None:
    worker = Worker(client, Oven(), worker="idle", project_ids=[project.id], handle_signals=False)
    task = asyncio.create_task(worker.run())
    asyncio.get_running_loop().call_soon(worker.stop)
    await task
    with pytest.raises(RuntimeError, match="runs once"):
        await worker.run()


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.long_form)])
async def test_no_run_is_lost_when_a_worker_stops(
    client: AsyncClient, project: Project, count: int
) -> None:
    async def handler(_: Run) -> None:
        return None

    dice = random.Random(7)  # noqa: S311
    for _ in range(count):
        worker = Worker(
            client,
            handler,
            worker="short",
            project_ids=[project.id],
            lease_seconds=1,
            handle_signals=False,
        )
        task = asyncio.create_task(worker.run())
        await client.agent_runs.list(project_id=project.id, limit=1).page()
        creating = asyncio.create_task(
            client.agent_runs.create(project_id=project.id, target_text="Bake")
        )
        for _ in range(dice.randrange(60)):
            await asyncio.sleep(0)
        worker.stop()
        run = await creating
        await task
        # It is done or goes to others, at the latest when the lease has run out.
        now = await reached(client, run.id, "pending", "completed")
        if now.status == "pending":
            await client.agent_runs.cancel(run.id)


async def test_after_drain_seconds_handlers_are_cancelled(
    client: AsyncClient, project: Project
) -> None:
    oven = Oven()
    worker = Worker(
        client, oven, worker="b", project_ids=[project.id], lease_seconds=1, drain_seconds=0,
        handle_signals=False,
    )  # fmt: skip
    task = asyncio.create_task(worker.run())
    run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    await oven.started.wait()
    worker.stop()
    await task
    assert oven.cancelled.is_set()
    assert (await reached(client, run.id, "pending")).error_message is None


async def test_a_worker_that_is_cancelled_cancels_its_handlers(
    client: AsyncClient, project: Project
) -> None:
    oven = Oven()
    worker = Worker(client, oven, worker="b", project_ids=[project.id], handle_signals=False)
    task = asyncio.create_task(worker.run())
    await client.agent_runs.create(project_id=project.id, target_text="Bake")
    await oven.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert oven.cancelled.is_set()


async def test_a_token_that_is_revoked_ends_the_worker(
    client: AsyncClient, project: Project, service: RunningServer
) -> None:
    made = await client.tokens.create(name="worker", scopes=["runs:read", "runs:write"])
    oven = Oven()
    async with AsyncClient(service.url, made.token) as own:
        worker = Worker(
            own, oven, worker="b", project_ids=[project.id], concurrency=2, lease_seconds=1,
            handle_signals=False,
        )  # fmt: skip
        task = asyncio.create_task(worker.run())
        await client.agent_runs.create(project_id=project.id, target_text="Bake")
        await oven.started.wait()
        await client.tokens.delete(made.id)
        with pytest.raises(strongroom.Unauthenticated):
            await task
    assert oven.cancelled.is_set()


async def test_options_that_make_no_sense(client: AsyncClient) -> None:
    with pytest.raises(ValueError, match="concurrency must be at least 1"):
        Worker(client, Oven(), worker="b", concurrency=0)
    with pytest.raises(ValueError, match="between 1 and 3600"):
        Worker(client, Oven(), worker="b", lease_seconds=3601)
