"""What type checkers make of programs that use the clients. `make types` checks it; nothing runs
it."""

from typing import Any, Literal, assert_type

from strongroom import UNSET, AsyncClient, Client, Page, ProjectExists, SecretValues
from strongroom.models import (
    AgentRun,
    AgentRunList,
    ClaimedRun,
    Event,
    Project,
    RunStatus,
    SecretReveal,
    SystemLog,
    TestResult,
    TestResultList,
)


async def asynchronous(client: AsyncClient, name: str | None) -> None:
    """A program with coroutines."""
    project = await client.projects.create(name="n", github_owner="o", github_repo="r")
    assert_type(project, Project)
    assert_type(project.version, int)
    assert_type(project.webhook_url, str | None)
    await client.projects.update(project.id, name=UNSET if name is None else name)
    async for run in client.agent_runs.list(status=["pending", "running"]):
        assert_type(run, AgentRun)
        assert_type(run.metadata, dict[str, Any])
        status: RunStatus = run.status
        assert_type(
            status,
            Literal["pending", "running", "paused", "completed", "failed", "cancelled"],
        )
    assert_type(await client.agent_runs.list().page(), Page[AgentRun, AgentRunList])
    page = await client.test_results.list(1).page()
    assert_type(page, Page[TestResult, TestResultList])
    assert_type(page.answer.summary, dict[str, int])
    assert_type(await client.agent_runs.claim(worker="w"), ClaimedRun | None)
    assert_type(await client.secrets.reveal(1), SecretValues)
    async for event in client.events.stream(after=0):
        assert_type(event, Event)
    async with client.logs.stream() as logs:
        assert_type(await logs.ready(), int)
        assert_type(await anext(logs), SystemLog)


def synchronous(client: Client) -> int | None:
    """A program without."""
    assert_type(client.projects.get(1), Project)
    assert_type(client.secrets.value(1, "KEY"), SecretReveal)
    for event in client.events.stream():
        assert_type(event, Event)
    try:
        client.projects.restore(1)
    except ProjectExists as error:
        assert_type(error.existing_id, int | None)
        return error.existing_id
    return None


async def wrong(client: AsyncClient) -> None:
    """What a type checker finds. mypy tells if one of these is no error."""
    await client.projects.create(name="n")  # type: ignore[call-arg]
    await client.projects.update(1, name=None)  # type: ignore[arg-type]
    client.agent_runs.list(status="asleep")  # type: ignore[arg-type]
    await client.projects.get("1")  # type: ignore[arg-type]
