"""Resources for the names in paths: one of each kind, in one project."""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import httpx

from tests.support.http import new_project
from tests.support.routes import Call, all_calls

SENTINEL = "sentinel-of-the-other-project"
SECRET_TOKEN = "a made-up secret token"
ABSENT_ID = 987_654_321


async def make(client: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    """The answer to a POST that creates something."""
    response = await client.post(path, json=body)
    assert response.status_code == 201, (path, response.text)
    made: dict[str, Any] = response.json()
    return made


class Resources:
    """Makes each resource when a test first asks for it, in a project of its own or in one that
    the test names."""

    def __init__(self, client: httpx.AsyncClient, **made: Any) -> None:
        self.client = client
        self._made = made

    async def get(self, name: str) -> Any:
        """The value for `name` in a path; the same one each time."""
        if name not in self._made:
            maker = MAKERS.get(name)
            self._made[name] = await (maker(self) if maker else self._created(name))
        return self._made[name]

    async def path(self, call: Call) -> str:
        """The path of a call, for these resources."""
        return call.template.format(**{name: await self.get(name) for name in call.names})

    async def all(self) -> dict[str, Any]:
        """A value for every name."""
        return {name: await self.get(name) for name in path_names()}

    async def _created(self, name: str) -> int:
        """The id of a new resource: of `/things/{thing_id}` by the POST to `/things`."""
        call = creating(name)
        path, body = await self.path(call), marked(call.body)
        refused = await self.client.post(path, json=body)
        if refused.status_code == 201:
            return int(refused.json()["id"])
        # Texts with a fixed form, such as a member of an enumeration, stay as in the example.
        for error in refused.json()["errors"]:
            restore(body, call.body, error["pointer"].split("/")[1:])
        return int((await make(self.client, path, body))["id"])


@cache
def path_names() -> tuple[str, ...]:
    """Every name in a path, in the order in which the routes are declared."""
    return tuple(dict.fromkeys(name for call in all_calls() for name in call.names))


def creating(name: str) -> Call:
    """The call that creates what `name` stands for."""
    found = {
        match[1]
        for call in all_calls()
        if (match := re.search(rf"(/[\w-]+)/{{{name}}}$", call.template)) is not None
    }
    calls = [
        call
        for call in all_calls()
        if call.method == "POST" and any(call.template.endswith(noun) for noun in found)
    ]
    assert len(calls) == 1, f"say in MAKERS how {name} is made"
    return calls[0]


def restore(body: Any, example: Any, place: list[str]) -> None:
    """Give the member of `body` at `place` the value that it has in `example`."""
    *way, last = [int(name) if name.isdigit() else name for name in place]
    for name in way:
        body, example = body[name], example[name]
    body[last] = example[last]


def marked(body: Any) -> Any:
    """The body of a request, with the sentinel at the end of each of its texts."""
    if isinstance(body, dict):
        return {name: marked(value) for name, value in body.items()}
    if isinstance(body, list):
        return [marked(item) for item in body]
    return body + SENTINEL if isinstance(body, str) else body


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


async def _version(resources: Resources) -> int:
    """The number of the first version, which the configuration and the secret both have."""
    await resources.get("key")
    return 1


async def _run(resources: Resources) -> int:
    body = {"project_id": await resources.get("project_id"), "target_text": SENTINEL}
    run = await make(resources.client, "/api/agent-runs", body)
    logs = [{"level": "ERROR", "message": SENTINEL, "project_id": body["project_id"]}]
    await make(resources.client, "/api/logs", {"logs": logs})
    return int(run["id"])


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
    "version": _version,
    "run_id": _run,
    "webhook_id": _webhook,
    "delivery_id": _delivery,
    "token_id": _token,
}
"""How to make the resource for a name whose POST needs more than the document's example."""
ABSENT: dict[str, Any] = {"owner": "absent", "repo": "nothing", "key": "NOTHING"}
"""Values that no resource has; `ABSENT_ID` is the value for all other names."""
