"""An application with its own data, and what it answers to requests for every route."""

import re
from typing import Any

import httpx

from tests.support.resources import ABSENT, ABSENT_ID
from tests.support.routes import Call, calls_of, document, send

CHANGING = re.compile(
    r"""
    \d{4}-\d\d-\d\dT[\d:.]+Z | \d{8}T[\d.]+Z | "duration_seconds":[\d.]+
    | "request_id":"[^"]+" | "lease_token":"[^"]+" | sr_\w+ | [0-9a-f]{64}
    # The numbers of the metrics.
    | ^(\w+(?:\{.*\})?)[ ][\d.e+-]+$
    """,
    re.VERBOSE | re.MULTILINE,
)
"""Times and random values."""
NO_BODIES = (b"", b"{", b"[]", b'{"unknown": 1}')
MADE_LAST = ("DELETE", "/api/projects/{project_id}")


def _is_weak(value: str) -> bool:
    return value.startswith("W/")


def in_order() -> list[Call]:
    """Every route. Deletions come last, and the deletion of the project after all others."""
    return sorted(
        calls_of(document()),
        key=lambda call: (call.method == "DELETE") + ((call.method, call.template) == MADE_LAST),
    )


class Way:
    """An application with its own data, and one of everything in it."""

    def __init__(self, client: httpx.AsyncClient, names: dict[str, Any]) -> None:
        self._client = client
        self._names = names

    async def answers(self, call: Call) -> list[Any]:
        """The route's answers to requests of every kind, without the parts that always differ."""
        queries: list[dict[str, str]] = [{"unknown": "1"}, {}]
        if call.query:
            queries.append(dict.fromkeys(call.query, "0x"))
        responses = [
            await send(self._client, call, self._names, params=params) for params in queries
        ]
        if call.names:
            absent = {name: ABSENT.get(name, ABSENT_ID) for name in call.names}
            wrong = dict.fromkeys(call.names, "0x")
            responses += [await send(self._client, call, names) for names in (absent, wrong)]
        path = call.template.format(**self._names)
        headers = call.headers | {"Content-Type": "application/json"}
        for content in NO_BODIES if call.body is not None else ():
            responses.append(
                await self._client.request(call.method, path, content=content, headers=headers)
            )
        if call.method == "GET":
            responses.append(await self._client.head(path))
        return [self._seen(response) for response in responses]

    def _seen(self, response: httpx.Response) -> Any:
        request_id = response.headers["x-request-id"]
        text = response.text.replace(request_id, "")
        # The length and a weak tag include the parts that are left out of the text, so only their
        # presence is compared.
        headers = [
            (name, "" if name in ("content-length", "x-request-id") or _is_weak(value) else value)
            for name, value in response.headers.multi_items()
        ]
        return response.status_code, headers, CHANGING.sub(r"\1", text)
