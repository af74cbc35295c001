"""Webhooks, and deliveries as GitHub sends them."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx

from tests.support.http import make_project, problem

Json = dict[str, Any]
TOKEN = "a made-up secret token"
PAYLOAD = b'{"action":"opened","number":7}'


async def make_webhook(client: httpx.AsyncClient, **fields: Any) -> Json:
    """A new webhook, in a new project unless the fields name one."""
    project_id = fields.pop("project_id", None) or (await make_project(client))["id"]
    body = {"webhook_type": "github_pr", "secret_token": TOKEN, **fields}
    response = await client.post(f"/api/projects/{project_id}/webhooks", json=body)
    assert response.status_code == 201, response.text
    webhook: Json = response.json()
    return webhook


async def repair(client: httpx.AsyncClient, webhook_id: int, token: str) -> None:
    """Replace a webhook that was changed outside the service, which takes all of its fields."""
    path = f"/api/webhooks/{webhook_id}"
    body = {"secret_token": token}
    problem(await client.patch(path, json=body), "changed_outside")
    answer = await client.patch(path, json={**(await client.get(path)).json(), **body})
    assert answer.status_code == 200, answer.text


def signature(body: bytes, token: str = TOKEN) -> str:
    """The value of GitHub's X-Hub-Signature-256 for a body."""
    return f"sha256={hmac.new(token.encode(), body, hashlib.sha256).hexdigest()}"


def headers_of(
    body: bytes, *, guid: str = "g-1", event: str = "pull_request", token: str = TOKEN
) -> dict[str, str]:
    """The headers of a delivery."""
    return {
        "Content-Type": "application/json",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": signature(body, token),
    }


async def deliver(
    client: httpx.AsyncClient,
    webhook_id: int,
    body: bytes = PAYLOAD,
    changes: dict[str, str | None] | None = None,
    **header_values: str,
) -> httpx.Response:
    """The answer to a delivery. `changes` replaces headers, or removes those that are `None`."""
    headers = {**headers_of(body, **header_values), **(changes or {})}
    return await client.post(
        f"/api/webhooks/{webhook_id}/deliveries/github",
        content=body,
        headers={name: value for name, value in headers.items() if value is not None},
    )


async def delivered(client: httpx.AsyncClient, webhook_id: int, **params: Any) -> list[Json]:
    """The webhook's deliveries, newest first."""
    response = await client.get(f"/api/webhooks/{webhook_id}/deliveries", params=params)
    assert response.status_code == 200, response.text
    deliveries: list[Json] = response.json()["deliveries"]
    return deliveries


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    """A body that is sent in several pieces."""
    for piece in pieces:
        yield piece
