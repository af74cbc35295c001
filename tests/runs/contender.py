"""A process with many clients that want the same thing at the same time.

It prints `ready`, waits for the end of its input, starts its tasks, and prints their results as
JSON.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx

# Without this, httpx searches all of `sys.path` for it at each request, in vain.
sys.modules["sniffio"] = None  # type: ignore[assignment]

Task = Callable[[httpx.AsyncClient, int], Awaitable[list[Any]]]


async def claim(client: httpx.AsyncClient, number: int) -> list[Any]:
    """Claim until no run is pending. Returns ids and lease tokens."""
    got: list[Any] = []
    while True:
        answer = await client.post("/api/agent-runs/claim", json={"worker": f"worker {number}"})
        if answer.status_code == 204:
            return got
        answer.raise_for_status()
        got.append([answer.json()["id"], answer.json()["lease_token"]])


async def claim_some(client: httpx.AsyncClient, number: int) -> list[Any]:
    """Claim five runs at a time until none is pending. Returns ids and lease tokens."""
    got: list[Any] = []
    while True:
        body = {"worker": f"worker {number}", "count": 5}
        answer = await client.post("/api/agent-runs/claim", json=body)
        if answer.status_code == 204:
            return got
        answer.raise_for_status()
        got += [[run["id"], run["lease_token"]] for run in answer.json()["agent_runs"]]


async def create(client: httpx.AsyncClient, number: int) -> list[Any]:
    """Make four runs in projects 1 and 2. Returns project ids and run numbers."""
    got: list[Any] = []
    for turn in range(4):
        body = {"project_id": 1 + (number + turn) % 2, "target_text": "x"}
        answer = await client.post("/api/agent-runs", json=body)
        answer.raise_for_status()
        got.append([answer.json()["project_id"], answer.json()["run_number"]])
    return got


async def finish(client: httpx.AsyncClient, number: int) -> list[Any]:
    """Try to end the runs 1 to 8 with a status that depends on the task. Returns the runs that it
    ended."""
    got: list[Any] = []
    to = ("completed", "failed", "cancelled")[number % 3]
    for run_id in range(1, 9):
        answer = await client.post(
            f"/api/agent-runs/{run_id}/transitions", json={"to": to, "result": str(number)}
        )
        if answer.status_code == 200:
            got.append([run_id, to, str(number)])
        else:
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (409, "invalid_transition"), problem
            assert problem["allowed"] == [], problem
    return got


TASKS: dict[str, Task] = {
    "claim": claim,
    "claim_some": claim_some,
    "create": create,
    "finish": finish,
}


async def contend(url: str, token: str, task: Task, first: int, count: int) -> list[Any]:
    """The results of `count` tasks in one list."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=60,
        limits=httpx.Limits(max_connections=count),
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    ) as client:
        # Each task's connection is open before the start.
        await asyncio.gather(*(client.get("/health") for _ in range(count)))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        got = await asyncio.gather(*(task(client, first + number) for number in range(count)))
    return [item for items in got for item in items]


def main(arguments: Sequence[str]) -> int:
    """Run the tasks. The arguments are the URL, the token, the task, the first number and the
    count."""
    url, token, name, first, count = arguments
    result = asyncio.run(contend(url, token, TASKS[name], int(first), int(count)))
    sys.stdout.write(json.dumps(result) + "\n")
    return 0
