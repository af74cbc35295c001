"""Requests with an idempotency key."""

from typing import Any

import httpx
from fastapi import FastAPI

from tests.support.http import manager_of

HEADER = "Idempotency-Key"
REPLAYED = "idempotency-replayed"


async def post(
    client: httpx.AsyncClient, path: str, body: Any = None, key: str = "a-key"
) -> httpx.Response:
    """The answer to a POST with this key."""
    sent = {} if body is None else {"json": body}
    return await client.post(path, headers={HEADER: key}, **sent)


def said(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    """What has to be the same in a repeated answer: all but the request's id and the mark."""
    headers = dict(answer.headers)
    headers.pop("x-request-id")
    headers.pop(REPLAYED, None)
    return answer.status_code, answer.content, headers


def is_replayed(answer: httpx.Response) -> bool:
    """Whether the answer says that it is repeated."""
    return bool(answer.headers.get(REPLAYED) == "true")


def stored_answers(app: FastAPI) -> list[dict[str, Any]]:
    """The rows of all stored answers."""
    return manager_of(app).execute_query("SELECT * FROM stored_answers ORDER BY id")
