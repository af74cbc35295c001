"""What a handler gets, and what becomes of what it returns and raises."""

import asyncio
from typing import Any

import pytest

from strongroom import AsyncClient, Run
from strongroom.models import AgentRun, Project
from tests.worker.conftest import Start, ended, reached

JUNIT = '<testsuite><testcase classname="a" name="b" time="0.1"/></testsuite>'


@pytest.fixture
async def pending(client: AsyncClient, project: Project) -> AgentRun:
    """A run that waits."""
    return await client.agent_runs.create(project_id=project.id, target_text="Bake")


async def test_a_handler_has_all_of_its_run(
    client: AsyncClient, project: Project, pending: AgentRun, start: Start
) -> None:
    await client.configuration.update(project.id, setup_commands="make oven")
    await client.secrets.update(project.id, {"OVEN": "opensesame"})
    seen: dict[str, Any] = {}

    async def handler(run: Run) -> dict[str, Any]:
        # What it started with, whatever it is by now.
        await client.configuration.update(project.id, setup_commands="make fridge")
        values = await run.secrets()
        run.log("kneading", context={"grams": 500})
        run.log("resting", "DEBUG", component="dough")
        state = await run.pipeline_state("testing", {"suite": "crust"})
        counts = await run.test_results([{"test_type": "unit", "test_name": "crust"}])
        more = await run.test_results(JUNIT, test_type="e2e")
        seen.update(
            run=run, values=dict(values), shown=f"{values} {run} {run!r}", state=state,
            counts=counts, more=more,
        )  # fmt: skip
        return {"loaves": 2, "name": "Brötchen"}

    start(handler)
    done = await ended(client, pending.id)
    assert (done.status, done.result) == ("completed", '{"loaves": 2, "name": "Brötchen"}')
    run = seen["run"]
    assert (run.id, run.target_text, run.status) == (pending.id, "Bake", "running")
    assert run.configuration.setup_commands == "make oven"
    assert seen["values"] == {"OVEN": "opensesame"}
    assert "opensesame" not in seen["shown"]
    assert run.lease_token not in seen["shown"]
    assert seen["state"].state == "testing"
    assert (seen["counts"].created, seen["more"].created) == (1, 1)
    # All logs are stored before the run is completed.
    logs = [log async for log in client.logs.list(agent_run_id=run.id, after_id=0)]
    assert [(log.message, log.level, log.component, log.context) for log in logs] == [
        ("kneading", "INFO", None, {"grams": 500}),
        ("resting", "DEBUG", "dough", {}),
    ]
    assert logs[0].timestamp is not None


@pytest.mark.parametrize(
    ("returned", "result"), [("Opened PR 7", "Opened PR 7"), (None, None), ("", "")]
)
async def test_what_is_returned_is_the_result(
    client: AsyncClient, pending: AgentRun, start: Start, returned: Any, result: Any
) -> None:
    async def handler(_: Run) -> Any:
        return returned

    start(handler)
    done = await ended(client, pending.id)
    assert (done.status, done.result, done.error_message) == ("completed", result, None)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (7, "TypeError: the handler returned a int: return a text, a dict or None"),
        ("x" * 1_000_001, "the service refused the result: "),
        ("\ud800", "UnicodeEncodeError: "),
    ],
)
async def test_what_can_be_no_result_fails_the_run(
    client: AsyncClient, pending: AgentRun, start: Start, returned: Any, message: str
) -> None:
    async def handler(_: Run) -> Any:
        return returned

    start(handler)
    done = await ended(client, pending.id)
    assert (done.status, done.result) == ("failed", None)
    assert (done.error_message or "").startswith(message)


async def test_what_is_raised_fails_the_run(
    client: AsyncClient, project: Project, pending: AgentRun, start: Start
) -> None:
    await client.secrets.update(project.id, {"OVEN": "open sesame, please"})

    async def handler(run: Run) -> None:
        run.log("before")
        raise ValueError(f"no oven opens with {(await run.secrets())['OVEN']}\0")

    start(handler)
    done = await ended(client, pending.id)
    assert (done.status, done.error_message) == (
        "failed",
        "ValueError: no oven opens with [secret:OVEN]\N{REPLACEMENT CHARACTER}",
    )
    assert [log.message async for log in client.logs.list(agent_run_id=done.id)] == ["before"]


async def test_messages_are_followed(client: AsyncClient, pending: AgentRun, start: Start) -> None:
    await client.messages.create(pending.id, role="user", content="White bread")
    heard = asyncio.Event()

    async def handler(run: Run) -> str:
        said = []
        async for message in run.messages(role="user"):
            said.append(message.content)
            heard.set()
            if message.content == "Done":
                break
        return ", ".join(said)

    start(handler)
    await heard.wait()
    await client.messages.create(pending.id, role="agent", content="Yes")
    await client.messages.create(pending.id, role="user", content="Done")
    assert (await ended(client, pending.id)).result == "White bread, Done"


async def test_a_run_that_waits_for_people_keeps_its_worker(
    client: AsyncClient, pending: AgentRun, start: Start
) -> None:
    async def handler(run: Run) -> str:
        await run.client.agent_runs.transition(run.id, to="paused", lease_token=run.lease_token)
        async for message in run.messages(role="user"):
            return message.content
        raise AssertionError

    start(handler, lease_seconds=1)
    await reached(client, pending.id, "paused")
    await client.agent_runs.resume(pending.id, message="Rye")
    done = await ended(client, pending.id)
    assert (done.status, done.result) == ("completed", "Rye")


async def test_a_handler_may_end_its_run_itself(
    client: AsyncClient, project: Project, pending: AgentRun, start: Start
) -> None:
    async def handler(run: Run) -> str:
        if run.id == pending.id:
            await run.client.agent_runs.transition(
                run.id, to="completed", result="mine", lease_token=run.lease_token
            )
        return "the worker's"

    start(handler)
    second = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    assert (await ended(client, second.id)).result == "the worker's"
    assert (await ended(client, pending.id)).result == "mine"


async def test_64_runs_at_the_same_time(
    client: AsyncClient, project: Project, start: Start
) -> None:
    together = asyncio.Barrier(64)

    async def handler(run: Run) -> str:
        await together.wait()
        for number in range(5):
            await run.log(f"{run.run_number} {number}")
        return str(run.run_number)

    start(handler, concurrency=64)
    runs = [
        await client.agent_runs.create(project_id=project.id, target_text="Bake") for _ in range(64)
    ]
    done = [await ended(client, run.id) for run in runs]
    assert [run.result for run in done] == [str(run.run_number) for run in runs]
    logs = [
        log.message async for log in client.logs.list(project_id=project.id, after_id=0, limit=500)
    ]
    assert len(logs) == 5 * 64
    for run in runs:
        own = [message for message in logs if message.startswith(f"{run.run_number} ")]
        assert own == [f"{run.run_number} {number}" for number in range(5)]
