"""Workers of a real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from strongroom import AsyncClient, NotModified, Worker
from strongroom.models import Project
from tests.client.conftest import new_project, service, token
from tests.support.servers import RunningServer

__all__ = ["Start", "ended", "new_project", "reached", "service", "token"]

Start = Callable[..., Worker]
"""Starts a worker with this handler; it is stopped after the test."""


@pytest.fixture
async def client(service: RunningServer, token: str) -> AsyncIterator[AsyncClient]:
    """A client of `service`."""
    async with AsyncClient(service.url, token) as client:
        yield client


@pytest.fixture
async def project(client: AsyncClient) -> Project:
    """A project of its own."""
    return await new_project(client)


@pytest.fixture
async def start(client: AsyncClient, project: Project) -> AsyncIterator[Start]:
    """Starts workers for the runs of `project`."""
    async with asyncio.TaskGroup() as group:
        workers: list[Worker] = []

        def begin(handler: Any, **options: Any) -> Worker:
            options = {"worker": "baker", "handle_signals": False, **options}
            worker = Worker(client, handler, project_ids=[project.id], **options)
            group.create_task(worker.run())
            workers.append(worker)
            return worker

        yield begin
        for worker in workers:
            worker.stop()


@asynccontextmanager
async def working(
    client: AsyncClient, handler: Any, project: Project, **options: Any
) -> AsyncIterator[Worker]:
    """A worker that is stopped at the end of the block, and has ended then."""
    options = {"worker": "baker", "handle_signals": False, **options}
    worker = Worker(client, handler, project_ids=[project.id], **options)
    running = asyncio.create_task(worker.run())
    yield worker
    worker.stop()
    await running


async def ended(client: AsyncClient, run_id: int) -> Any:
    """The run, when it has ended."""
    return await reached(client, run_id, "completed", "failed", "cancelled")


async def reached(client: AsyncClient, run_id: int, *statuses: str) -> Any:
    """The run, when it has one of these statuses."""
    run = await client.agent_runs.get(run_id)
    while run.status not in statuses:
        with contextlib.suppress(NotModified):
            run = await client.agent_runs.get(run_id, if_none_match=run.etag, wait=10)
    return run
