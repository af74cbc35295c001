"""The content of /metrics, the names of metrics, and their documentation."""

import asyncio
import re
import sqlite3
import threading
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from backend.http.engine_metrics import ENGINE_METRICS
from tests.support.http import make_project, manager_of, service_of
from tests.support.webhooks import deliver, make_webhook

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
LINUX = Path("/proc/self/stat").exists()
BASE_UNITS = "seconds|bytes|info|total|ratio"
OTHER_UNITS = re.compile(
    "_(ms|us|ns|millis|milliseconds|microseconds|minutes|hours|days|kb|mb|kib|mib|kilobytes"
    "|megabytes|percent|counter|gauge|histogram)(_|$)"
)


def parsed(text: str) -> dict[str, Metric]:
    """The metrics by their names in the text."""
    return {
        f"{metric.name}_total" if metric.type == "counter" else metric.name: metric
        for metric in text_string_to_metric_families(text)
    }


async def families(client: httpx.AsyncClient) -> dict[str, Metric]:
    response = await client.get("/metrics")
    assert response.status_code == 200
    return parsed(response.text)


async def value(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    """The value of the one sample with these labels."""
    (sample,) = [
        sample for sample in (await families(client))[name].samples if sample.labels == labels
    ]
    return float(sample.value)


# Names


async def test_every_metric_is_named_as_prometheus_wants_it(client: httpx.AsyncClient) -> None:
    found = await families(client)
    assert len(found) > 40
    for name, metric in found.items():
        assert re.fullmatch("(strongroom|process|python)(_[a-z]+)+", name), name
        assert not OTHER_UNITS.search(name), name
        assert metric.documentation.strip(), name
        assert metric.type in ("counter", "gauge", "histogram"), name
        if metric.type == "counter":
            assert not re.search(f"_({BASE_UNITS})_({BASE_UNITS})_total$", name), name
        else:
            assert not re.search("_(total|count|sum|bucket)$", name), name


async def test_the_help_of_our_metrics_is_a_sentence(client: httpx.AsyncClient) -> None:
    for name, metric in (await families(client)).items():
        if name.startswith("strongroom_"):
            assert re.fullmatch(r"[A-Z].{5,}\.", metric.documentation), name
            unit = re.search("_(seconds|bytes)(_total)?$", name)
            if unit and metric.type != "histogram":
                assert f"in {unit[1]}" in metric.documentation, name


async def test_every_metric_is_documented_and_no_other(client: httpx.AsyncClient) -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = dict(rows)
    assert len(documented) == len(rows)
    if not LINUX:
        documented = {n: kind for n, kind in documented.items() if not n.startswith("process_")}
    assert {name: metric.type for name, metric in (await families(client)).items()} == documented


async def test_every_metric_that_the_page_uses_exists(client: httpx.AsyncClient) -> None:
    used = set(re.findall(r"\bstrongroom_\w+", PAGE.read_text(encoding="utf-8")))
    names = (await families(client)).keys()
    assert {re.sub("_count$", "", name) for name in used} <= set(names)


async def test_every_number_of_the_engine_is_shown(application: FastAPI) -> None:
    stats = manager_of(application).async_pool.stats()
    members = {
        (part, member)
        for part, numbers in stats.items()
        if isinstance(numbers, dict)
        for member in numbers
    }
    assert {(metric.part, metric.member) for metric in ENGINE_METRICS} == members
    assert len({metric.name for metric in ENGINE_METRICS}) == len(ENGINE_METRICS)


# Numbers


@pytest.mark.skipif(not LINUX, reason="the process tells of itself in /proc")
async def test_the_process_tells_what_it_takes(client: httpx.AsyncClient) -> None:
    assert await value(client, "process_resident_memory_bytes") > 1_000_000
    assert await value(client, "process_cpu_seconds_total") > 0
    assert await value(client, "process_open_fds") > 3
    assert await value(client, "process_start_time_seconds") > 1_700_000_000


async def test_python_tells_what_it_is(client: httpx.AsyncClient) -> None:
    (sample,) = (await families(client))["python_info"].samples
    assert sample.labels["version"].startswith("3.")
    assert await value(client, "python_gc_collections_total", generation="0") >= 0


async def new_run(client: httpx.AsyncClient, project_id: int) -> int:
    body = {"project_id": project_id, "target_text": "x"}
    return int((await client.post("/api/agent-runs", json=body)).json()["id"])


async def test_runs_that_wait_are_counted_with_the_age_of_the_oldest(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    pending, age = "strongroom_runs_pending", "strongroom_runs_oldest_pending_age_seconds"
    assert (await value(client, pending), await value(client, age)) == (0, 0)
    first, second = [(await make_project(client))["id"] for _ in range(2)]
    runs = [await new_run(client, project_id) for project_id in (first, second, first)]
    await manager_of(application).async_pool.execute(
        "UPDATE agent_runs SET created_at = '2026-01-31T12:00:00.000000Z' WHERE id = ?", (runs[0],)
    )
    assert await value(client, pending) == 3
    assert await value(client, age) > 86_400
    # A cancelled run stays in its queue's record until the next claim.
    await client.post(f"/api/agent-runs/{runs[0]}/cancel")
    assert await value(client, pending) == 2
    assert await value(client, age) < 3600
    # The runs of a deleted project can't be claimed.
    await client.delete(f"/api/projects/{second}")
    assert await value(client, pending) == 1
    await client.post("/api/agent-runs/claim", json={"worker": "w"})
    assert (await value(client, pending), await value(client, age)) == (0, 0)
    assert await value(client, "strongroom_runs_leased") == 1


async def test_leases_that_ran_out_are_counted_by_what_came_of_it(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await application.state.runtime.background.stop()
    service = service_of(application)
    await service.claims.check_leases()
    await new_run(client, (await make_project(client))["id"])
    name = "strongroom_leases_expired_total"
    for outcome in ("requeued", "failed"):
        assert await value(client, name, outcome=outcome) == 0
    for seen_by in ("claim", "look"):
        claim = {"worker": "w", "lease_seconds": 3600}
        answer = await client.post("/api/agent-runs/claim", json=claim)
        assert answer.status_code == 200
        await manager_of(application).async_pool.execute(
            "UPDATE agent_runs SET lease_expires_at = '2026-01-31T12:00:00.000000Z'"
        )
        service.claims.presence.note()
        service.claims.presence.make_up_for(service.claims.presence.absences)
        if seen_by == "claim":
            other = {"worker": "w", "project_ids": [99]}
            assert (await client.post("/api/agent-runs/claim", json=other)).status_code == 204
        else:
            assert await service.claims.expire_leases() == 1
    assert await value(client, name, outcome="requeued") == 1
    assert await value(client, name, outcome="failed") == 1


async def test_refused_deliveries_are_counted_by_reason(client: httpx.AsyncClient) -> None:
    webhook = (await make_webhook(client))["id"]
    name = "strongroom_deliveries_refused_total"
    for reason in ("signature", "no_room", "too_slow"):
        assert await value(client, name, reason=reason) == 0
    await deliver(client, webhook, token="another")
    await deliver(client, webhook, changes={"X-Hub-Signature-256": None})
    await deliver(client, webhook)
    assert await value(client, name, reason="signature") == 2
    assert await value(client, "strongroom_deliveries_unstored_bytes") == 0


# While the database is busy


async def test_metrics_are_served_while_the_database_is_busy(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await new_run(client, (await make_project(client))["id"])
    assert await value(client, "strongroom_runs_pending") == 1
    manager = manager_of(application)
    go_on = threading.Event()

    loop = asyncio.get_running_loop()
    has_begun = asyncio.Event()

    def block(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(has_begun.set)
        go_on.wait()

    blocked: list[asyncio.Task[None]] = []
    try:
        pool = manager.async_pool
        for occupy in (*(pool.run_read,) * manager.config.readers, pool.run_alone):
            has_begun.clear()
            blocked.append(asyncio.ensure_future(occupy(block)))
            await has_begun.wait()
        # A scrape shows the last known values, also the second one that waits for the same read.
        for _ in range(2):
            assert await value(client, "strongroom_runs_pending") == 1
        service = service_of(application)
        assert service.backlog._last is not None
        service.backlog._last = service.backlog._last[0] - 61, service.backlog._last[1]
        found = await families(client)
        assert "strongroom_runs_pending" not in found
        assert "strongroom_writer_commits_total" in found
    finally:
        go_on.set()
        await asyncio.gather(*blocked)
    assert await value(client, "strongroom_runs_pending") == 1


async def test_metrics_of_a_closed_database(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await manager_of(application).close()
    # The metrics are open on loopback, so no token has to be looked up.
    client.headers["Host"] = "localhost"
    found = await families(client)
    assert "strongroom_wal_bytes" in found
    assert "strongroom_runs_pending" not in found
