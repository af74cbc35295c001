"""Data of different ages, and retention limits."""

from typing import Any

from backend.repositories.webhook_delivery_repository import NewDelivery
from backend.schemas.retention import Limit, RetentionLimits
from database.connection_manager import DatabaseManager
from tests.support.api import Api, Json
from tests.support.clocks import SetClock
from tests.support.logs import log, send

DAY = 86_400.0
ENDLESS = Limit(days=None, newest=None)


def limits(**parts: tuple[int | None, int | None]) -> RetentionLimits:
    """Limits for the named parts, each as days and newest; the other parts are unlimited."""
    given = {name: Limit(days=days, newest=newest) for name, (days, newest) in parts.items()}
    endless = dict.fromkeys(RetentionLimits.model_fields, ENDLESS)
    return RetentionLimits.model_validate({**endless, **given})


async def logs_of_days(api: Api, clock: SetClock, days: int, each: int = 3) -> None:
    """`each` logs on each of `days` days; the last day is today."""
    for day in range(days):
        await send(api, *(log(f"day {day} log {number}") for number in range(each)))
        clock.advance(DAY if day < days - 1 else 0)


async def finished_run(api: Api, project_id: int = 1, status: str = "completed") -> Json:
    """A finished run with data of every kind."""
    run = await api.new_run(project_id)
    path = f"/api/agent-runs/{run['id']}"
    await api.step(run["id"], "running")
    await api.post(f"{path}/pipeline-states", {"state": "testing"}, 201)
    await api.post(
        f"{path}/test-results",
        {"test_type": "unit", "test_name": "t", "status": "passed", "result_data": {"a": 1}},
        201,
    )
    await api.post(f"{path}/snapshots", {"snapshot_id": "s"}, 201)
    await send(api, log(f"of run {run['id']}", agent_run_id=run["id"]))
    return await api.step(run["id"], status)


async def webhook(api: Api) -> int:
    """A webhook's id."""
    body = {"webhook_type": "github_push", "secret_token": "a made-up token"}
    made: Json = await api.post("/api/projects/1/webhooks", body, 201)
    return int(made["id"])


async def deliveries(api: Api, webhook_id: int, *guids: str, payload: str = "{}") -> None:
    """Add deliveries to a webhook, as if they had just arrived."""
    async with api.service.transaction() as repositories:
        new = [NewDelivery(webhook_id, guid, "push", None, len(payload), payload) for guid in guids]
        assert None not in await repositories.deliveries.add(new)


async def rows(manager: DatabaseManager, table: str, column: str = "id") -> list[Any]:
    """A column of all rows of a table, in order."""
    found = await manager.async_pool.fetch_all(
        f"SELECT {column} FROM {table} ORDER BY {column}"  # noqa: S608
    )
    return [row[0] for row in found]
