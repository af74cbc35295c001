"""Messages of runs, over HTTP."""

from typing import Any

import httpx

from tests.support.api import Api, Json
from tests.support.http import make_project

PATH = "/api/agent-runs/1/messages"


async def say(
    api: Api, content: str = "x", run_id: int = 1, status: int = 201, **fields: Any
) -> Json:
    """The answer to a message, by default one of the user."""
    path = f"/api/agent-runs/{run_id}/messages"
    answer: Json = await api.post(path, {"role": "user", "content": content, **fields}, status)
    return answer


async def contents(api: Api, query: str = "?after_id=0", run_id: int = 1) -> list[str]:
    """What was said in the run, oldest first."""
    page = await api.get(f"/api/agent-runs/{run_id}/messages{query}")
    return [message["content"] for message in page["messages"]]


async def paused_run(api: Api) -> Json:
    """A run that a worker has claimed and paused: the answer to the claim."""
    await api.new_run()
    claimed = await api.claim(lease_seconds=30)
    await api.step(claimed["id"], "paused")
    return claimed


async def make_run(client: httpx.AsyncClient) -> str:
    """The path of the messages of a new run in a new project."""
    project = await make_project(client)
    body = {"project_id": project["id"], "target_text": "t"}
    answer = await client.post("/api/agent-runs", json=body)
    assert answer.status_code == 201, answer.text
    return f"/api/agent-runs/{answer.json()['id']}/messages"


async def send(client: httpx.AsyncClient, path: str, content: str, role: str = "user") -> Json:
    """A new message."""
    answer = await client.post(path, json={"role": role, "content": content})
    assert answer.status_code == 201, answer.text
    message: Json = answer.json()
    return message
