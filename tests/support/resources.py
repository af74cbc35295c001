"""Two projects that know nothing of one another, and one of everything in the first."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.support.http import new_project

SENTINEL = "sentinel-of-the-other-project"
SECRET_TOKEN = "a made-up secret token"
ABSENT_ID = 987_654_321


async def make(client: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    """What a POST has made."""
    response = await client.post(path, json=body)
    assert response.status_code == 201, (path, response.text)
    made: dict[str, Any] = response.json()
    return made


class Resources:
    """Makes each thing when it is first asked for, in one project, which no test's token sees."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self._made: dict[str, Any] = {}

    async def get(self, name: str) -> Any:
        """What stands for `name` in a path; the same one each time."""
        if name not in self._made:
            self._made[name] = await MAKERS[name](self)
        return self._made[name]


Maker = Callable[[Resources], Awaitable[Any]]


async def _project(resources: Resources) -> int:
    body = new_project(name=SENTINEL, github_owner=SENTINEL, github_repo=SENTINEL)
    return int((await make(resources.client, "/api/projects", body))["id"])


async def _owner(resources: Resources) -> str:
    await resources.get("project_id")
    return SENTINEL


async def _secret(resources: Resources) -> str:
    project_id = await resources.get("project_id")
    body = {"key": "KEY", "value": SENTINEL}
    made = await make(resources.client, f"/api/projects/{project_id}/secrets", body)
    return str(made["key"])


async def _run(resources: Resources) -> int:
    body = {"project_id": await resources.get("project_id"), "target_text": SENTINEL}
    run = await make(resources.client, "/api/agent-runs", body)
    logs = [{"level": "ERROR", "message": SENTINEL, "project_id": body["project_id"]}]
    await make(resources.client, "/api/logs", {"logs": logs})
    return int(run["id"])


async def _snapshot(resources: Resources) -> int:
    path = f"/api/agent-runs/{await resources.get('run_id')}/snapshots"
    return int((await make(resources.client, path, {"snapshot_id": SENTINEL}))["id"])


async def _webhook(resources: Resources) -> int:
    path = f"/api/projects/{await resources.get('project_id')}/webhooks"
    body = {"webhook_type": "github_push", "secret_token": SECRET_TOKEN, "events": [SENTINEL]}
    return int((await make(resources.client, path, body))["id"])


async def _delivery(resources: Resources) -> int:
    path = f"/api/webhooks/{await resources.get('webhook_id')}/deliveries"
    body = b'{"action": "opened"}'
    signature = hmac.new(SECRET_TOKEN.encode(), body, hashlib.sha256).hexdigest()
    response = await resources.client.post(
        f"{path}/github",
        content=body,
        headers={
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": SENTINEL,
            "X-Hub-Signature-256": f"sha256={signature}",
        },
    )
    assert response.is_success, response.text
    return int((await resources.client.get(path)).json()["deliveries"][0]["id"])


async def _token(resources: Resources) -> int:
    body = {"name": SENTINEL, "scopes": ["projects:read"]}
    return int((await make(resources.client, "/api/tokens", body))["id"])


MAKERS: dict[str, Maker] = {
    "project_id": _project,
    "owner": _owner,
    "repo": _owner,
    "key": _secret,
    "run_id": _run,
    "snapshot_id": _snapshot,
    "webhook_id": _webhook,
    "delivery_id": _delivery,
    "token_id": _token,
}
"""For each name that a path may have, how one is made."""
ABSENT: dict[str, Any] = {"owner": "nobody", "repo": "nothing", "key": "NOTHING"}
"""What stands for nothing that there is; for every other name an id without a resource does."""
