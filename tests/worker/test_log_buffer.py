"""Logs of runs are sent in order, with bounded memory."""

import asyncio

import pytest

from strongroom import AsyncClient
from strongroom._worker import log_buffer
from strongroom._worker.log_buffer import LogBuffer
from strongroom.models import AgentRun, Project, SystemLog


@pytest.fixture
async def run(client: AsyncClient, project: Project) -> AgentRun:
    """A run without a worker."""
    return await client.agent_runs.create(project_id=project.id, target_text="Bake")


async def _stored(client: AsyncClient, run: AgentRun) -> list[SystemLog]:
    return [log async for log in client.logs.list(agent_run_id=run.id, after_id=0, limit=500)]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets five logs wait, of which three are sent at once."""
    monkeypatch.setattr(log_buffer, "MOST_WAITING", 5)
    monkeypatch.setattr(log_buffer, "_MOST_SENT", 3)


@pytest.mark.usefixtures("few")
async def test_what_is_too_much_is_left_out_and_counted(client: AsyncClient, run: AgentRun) -> None:
    buffer = LogBuffer(client, run.id)
    for number in range(12):
        buffer.add("INFO", str(number), None, None)
    await buffer.flush()
    buffer.add("INFO", "12", None, None)
    await buffer.flush()
    assert [log.message for log in await _stored(client, run)] == [
        *"01234",
        "7 logs of this run are missing here: more came than could be sent",
        "12",
    ]


@pytest.mark.usefixtures("few")
async def test_nothing_is_left_out_of_what_is_awaited(client: AsyncClient, run: AgentRun) -> None:

    buffer = LogBuffer(client, run.id)
    flushing = asyncio.create_task(buffer.flush_again_and_again())
    for number in range(40):
        await buffer.add("INFO", str(number), None, None)
    await buffer.flush()
    flushing.cancel()
    assert [log.message for log in await _stored(client, run)] == [str(n) for n in range(40)]


async def test_long_messages_and_large_batches(client: AsyncClient, run: AgentRun) -> None:
    buffer = LogBuffer(client, run.id)
    text = "".join(chr(0x4E00 + number % 5000) for number in range(25_000))
    for _ in range(20):
        buffer.add("INFO", text, None, None)
    buffer.add("INFO", "", None, None)
    await buffer.flush()
    logs = await _stored(client, run)
    assert "".join(log.message for log in logs) == text * 20
    assert max(len(log.message) for log in logs) == 10_000


async def test_a_log_that_is_refused_does_not_hold_up_others(
    client: AsyncClient, run: AgentRun
) -> None:
    buffer = LogBuffer(client, run.id)
    context = {"is": "copied"}
    buffer.add("INFO", "first", None, context)
    context["is"] = "changed"
    buffer.add("INFO", "second", "strongroom.own", None)
    # Half of a pair of surrogates is in no text that can be sent.
    buffer.add("INFO", "third\ud800", None, None)
    await buffer.flush()
    logs = await _stored(client, run)
    assert [log.message for log in logs] == ["first", "third?"]
    assert logs[0].context == {"is": "copied"}
    with pytest.raises(ValueError, match="surrogate"):
        buffer.add("INFO", "fourth", None, {"\ud800": 1})


async def test_logs_of_a_token_that_may_not_log_are_left_out(
    client: AsyncClient, run: AgentRun, project: Project
) -> None:
    made = await client.tokens.create(name="quiet", scopes=["runs:write"], project_ids=[project.id])
    async with AsyncClient(client.url, made.token) as quiet:
        buffer = LogBuffer(quiet, run.id)
        buffer.add("INFO", "first", None, None)
        await buffer.flush()
    assert await _stored(client, run) == []
