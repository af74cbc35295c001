"""Workers as processes, and servers that end under them."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from strongroom import AsyncClient, Run, Worker
from strongroom.models import Project
from tests.client.proxy import Proxy
from tests.support.processes import PATIENCE, Serving
from tests.support.servers import RunningServer
from tests.worker.conftest import Start, ended, new_project, reached

PROGRAM = Path(__file__).with_name("program.py")


class Program:
    """A worker that runs as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def said(self, text: str) -> None:
        """Wait for a line with this text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := await self.process.stdout.readline():
                if text in line.decode():
                    return
        raise AssertionError(f"the program ended without {text!r}")


@asynccontextmanager
async def program(url: str, token: str, lease_seconds: int) -> AsyncIterator[Program]:
    """The worker, killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAM,
        str(lease_seconds),
        env={**os.environ, "STRONGROOM_URL": url, "STRONGROOM_TOKEN": token},
        cwd=PROGRAM.parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_run_of_a_killed_worker_goes_to_another(
    client: AsyncClient, project: Project, service: RunningServer, token: str, start: Start
) -> None:
    run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    async with program(service.url, token, 1) as worker:
        await worker.said(f"working on {run.id}")
        worker.process.kill()

    async def handler(again: Run) -> str:
        return again.target_text

    start(handler)
    done = await ended(client, run.id)
    assert (done.status, done.result) == ("completed", "Bake")
    kinds = [
        event.kind async for event in client.events.list(resource=f"agent-runs/{run.id}", after=0)
    ]
    assert kinds.count("agent_run.requeued") == 1
    assert kinds.count("agent_run.claimed") == 2


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long_form)]
)
async def test_a_signal_lets_handlers_end(
    client: AsyncClient, project: Project, service: RunningServer, token: str, number: int
) -> None:
    run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    async with program(service.url, token, 60) as worker:
        await worker.said(f"working on {run.id}")
        worker.process.send_signal(number)
        await worker.said("claims no more")
        later = await client.agent_runs.create(project_id=project.id, target_text="Bake")
        await client.messages.create(run.id, role="user", content="Done")
        await worker.said("ended")
        assert await worker.process.wait() == 0
    assert (await client.agent_runs.get(run.id)).result == "Done"
    assert (await client.agent_runs.cancel(later.id)).started_at is None


async def test_a_second_signal_hands_runs_back(
    client: AsyncClient, project: Project, service: RunningServer, token: str
) -> None:
    run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
    async with program(service.url, token, 1) as worker:
        await worker.said(f"working on {run.id}")
        worker.process.send_signal(signal.SIGTERM)
        await worker.said("claims no more")
        worker.process.send_signal(signal.SIGTERM)
        await worker.said(f"cancelled {run.id}")
        await worker.said("ended")
        assert await worker.process.wait() == 0
    assert (await reached(client, run.id, "pending")).error_message is None
    await client.agent_runs.cancel(run.id)


class Noticed(logging.Handler):
    """Awaits lines in the log of workers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.event.set()


@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        (signal.SIGKILL, 0),
        pytest.param(signal.SIGTERM, 0, marks=pytest.mark.long_form),
        # Far beyond the lease of 2 s.
        pytest.param(signal.SIGKILL, 20, marks=pytest.mark.long_form),
        pytest.param(signal.SIGTERM, 60, marks=pytest.mark.long_form),
    ],
)
async def test_runs_go_on_when_the_server_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, seconds: int
) -> None:
    # The pauses are shorter than usual, because these tests wait for their end.
    monkeypatch.setattr("strongroom._retrying.LONGEST_SECONDS", 0.3)
    noticed = Noticed("a heartbeat got no answer")
    logger = logging.getLogger("strongroom.worker")
    logger.addHandler(noticed)
    started, back = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    async def handler(run: Run) -> str:
        calls.append(run.id)
        run.log("before")
        started.set()
        if run.target_text == "during":
            await noticed.event.wait()
            run.log("during")
            await run.pipeline_state("testing")
            return "ended during the outage"
        if run.target_text == "after":
            await back.wait()
        return "ended afterwards"

    try:
        async with Proxy(("127.0.0.1", 9), is_tunnel=True) as proxy:
            with Serving(tmp_path / "data") as serving:
                proxy.target = _address(serving.url)
                client = AsyncClient(proxy.url, serving.token)
                worker = Worker(
                    client, handler, worker="b", concurrency=3, lease_seconds=2,
                    handle_signals=False,
                )  # fmt: skip
                project = await new_project(client)
                runs = []
                working = asyncio.create_task(worker.run())
                for text in ("during", "after"):
                    run = await client.agent_runs.create(project_id=project.id, target_text=text)
                    runs.append(run.id)
                    await started.wait()
                    started.clear()
                await asyncio.to_thread(serving.end, number)
                await noticed.event.wait()
                # The rest of an outage: nothing else can be awaited in it.
                await asyncio.sleep(seconds)
            with Serving(tmp_path / "data") as again:
                proxy.target = _address(again.url)
                new = await client.agent_runs.create(project_id=project.id, target_text="new")
                back.set()
                done = [await ended(client, run_id) for run_id in (*runs, new.id)]
                messages = [log.message async for log in client.logs.list(agent_run_id=runs[0])]
                worker.stop()
                await working
                await client.aclose()
    finally:
        logger.removeHandler(noticed)
    assert [run.result for run in done] == [
        "ended during the outage",
        "ended afterwards",
        "ended afterwards",
    ]
    assert calls == [*runs, new.id]
    assert sorted(messages) == ["before", "during"]


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port
