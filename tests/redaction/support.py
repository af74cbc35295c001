"""Short forms for secrets that leak."""

from typing import Any

from tests.redaction.encodings import KEY
from tests.support.api import Api, Json

SECRETS = "/api/projects/1/secrets"


async def put(api: Api, key: str = KEY, value: str | None = None, **fields: Any) -> Json:
    """The answer to a request that sets this secret in a list."""
    body = {"secrets": [{"key": key, "value": value or "hunter2hunter2", **fields}]}
    answer: Json = await api.call("PUT", SECRETS, body)
    return answer


async def leaks(api: Api, **params: Any) -> list[tuple[str, list[str]]]:
    """The secrets that the record tells to have leaked, and the places."""
    query = "&".join(f"{name}={value}" for name, value in params.items())
    events = (await api.get(f"/api/events?kind=secret.leaked&limit=500&{query}"))["events"]
    return [(event["resource"], event["fields"]) for event in events]
