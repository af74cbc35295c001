"""Short forms for sending and reading logs."""

from typing import Any
from urllib.parse import urlencode

from tests.support.api import Api, Json


def log(message: str = "it happened", level: str = "INFO", **fields: Any) -> Json:
    """The body of a request with one log."""
    return {"level": level, "message": message, **fields}


async def send(api: Api, *logs: Json) -> None:
    """Store `logs` in one request."""
    assert await api.post("/api/logs", {"logs": logs}, 201) == {"accepted": len(logs)}


async def found(api: Api, **params: Any) -> list[Json]:
    """The first page of logs for these parameters."""
    logs: list[Json] = (await api.get(f"/api/logs?{urlencode(params)}"))["logs"]
    return logs


async def messages(api: Api, **params: Any) -> list[str]:
    """The messages of these logs."""
    return [log["message"] for log in await found(api, **params)]
