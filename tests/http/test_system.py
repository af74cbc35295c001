"""The state of the service: alive, ready, and in numbers."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from backend.main import create_app
from config.settings import Settings
from database.errors import DatabaseUnavailable
from tests.support.clients import client_of
from tests.support.http import make_project, manager_of, problem

CHECKS = {"database", "migrations", "keys", "writer_queue", "writes"}


@pytest.mark.parametrize("path", ["/", "/health"])
async def test_health_is_two_words(stranger: httpx.AsyncClient, path: str) -> None:
    response = await stranger.get(path)
    assert response.status_code == 200
    assert response.json() == {"status": "healthy", "service": "strongroom"}


async def failing(client: httpx.AsyncClient) -> set[str]:
    """The failing checks of `/ready`, after a check that its status agrees."""
    response = await client.get("/ready")
    answer = response.json()
    assert answer.keys() == {"status", "checks"}
    assert answer["checks"].keys() == CHECKS
    failed = {name for name, check in answer["checks"].items() if check["status"] != "ok"}
    for name, check in answer["checks"].items():
        assert check.keys() == {"status", "detail"}
        assert (check["detail"] is not None) == (name in failed)
    assert response.status_code == (503 if failed else 200)
    assert answer["status"] == ("not_ready" if failed else "ready")
    return failed


async def test_a_started_service_is_ready(stranger: httpx.AsyncClient) -> None:
    assert await failing(stranger) == set()


async def test_a_closed_database_is_not_ready_and_yet_alive(
    stranger: httpx.AsyncClient, application: FastAPI
) -> None:
    await manager_of(application).close()
    assert await failing(stranger) == CHECKS
    assert (await stranger.get("/health")).status_code == 200


async def test_a_stopped_writer_is_not_ready(
    stranger: httpx.AsyncClient, application: FastAPI
) -> None:
    writer = manager_of(application).async_pool.writer
    writer.poisoned = DatabaseUnavailable("sentinel-cause")
    assert await failing(stranger) == {"database", "writer_queue", "writes"}
    assert "sentinel" not in (await stranger.get("/ready")).text
    # The application also writes when it stops.
    writer.poisoned = None


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("DELETE FROM schema_migrations", "migrations"),
        ("UPDATE schema_migrations SET version = version + 1000", "migrations"),
        ("DROP TABLE schema_migrations", "migrations"),
        ("UPDATE master_keys SET canary = 'sr1:A256GCM:test:AAAA'", "keys"),
        ("UPDATE master_keys SET canary = ''", "keys"),
        ("DROP TABLE project_keys", "keys"),
    ],
)
async def test_what_was_changed_outside_is_not_ready(
    stranger: httpx.AsyncClient, application: FastAPI, statement: str, check: str
) -> None:
    manager = manager_of(application)
    with manager.transaction() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute(statement)
    assert check in await failing(stranger)


class TestQueue:
    """A writer with too much waiting work."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Room for two waiting units."""
        return settings.model_copy(update={"db_queue_limit": 2})

    async def test_a_full_queue_is_not_ready(
        self, stranger: httpx.AsyncClient, application: FastAPI
    ) -> None:
        # Background work would take places as well.
        await application.state.runtime.background.stop()
        pool = manager_of(application).async_pool
        pool.writer.queue._unanswered = 2
        assert await failing(stranger) == {"database", "writer_queue", "writes"}
        pool.writer.queue._unanswered = 0
        assert await failing(stranger) == set()


def families(text: str) -> dict[str, Metric]:
    """The metrics by name."""
    return {family.name: family for family in text_string_to_metric_families(text)}


async def test_metrics_count_requests_by_template(client: httpx.AsyncClient) -> None:
    for id in (1, 2, 3):
        await client.get(f"/api/projects/{id}")
    await make_project(client)
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = families(response.text)
    durations = found["strongroom_request_duration_seconds"]
    labels = {"method": "GET", "route": "/api/projects/{project_id}", "status": "404"}
    values = {
        (sample.name, sample.labels.get("le")): sample.value
        for sample in durations.samples
        if labels.items() <= sample.labels.items()
    }
    name = "strongroom_request_duration_seconds"
    assert values[f"{name}_count", None] == 3
    assert values[f"{name}_bucket", "+Inf"] == 3
    assert 0 < values[f"{name}_sum", None] < 3
    counts = [v for (part, le), v in values.items() if part.endswith("_bucket") and le != "+Inf"]
    assert counts == sorted(counts)
    assert found["strongroom_writer_commits"].type == "counter"
    assert found["strongroom_writer_commits"].samples[0].value >= 1
    assert found["strongroom_writer_waiting"].type == "gauge"
    assert found["strongroom_readers_queries"].samples[0].value >= 3
    assert found["strongroom_wal_bytes"].samples[0].value > 0
    assert found["strongroom_wal_pinned"].samples[0].value == 0


# By name, so that pytest makes a case of the class for each of its values.
@pytest.mark.usefixtures("settings")
class TestWhoMaySeeMetrics:
    """In development every client on this machine may see metrics, otherwise only tokens with the
    scope."""

    @pytest.fixture(params=[{"host": "0.0.0.0"}, {"environment": "production"}])  # noqa: S104
    def settings(self, settings: Settings, request: pytest.FixtureRequest) -> Settings:
        """Settings with guarded metrics."""
        return settings.model_copy(update=request.param)

    # By its name, because `application` asks for it only when the test runs.
    @pytest.mark.usefixtures("settings")
    async def test_elsewhere_metrics_need_the_scope(
        self, client: httpx.AsyncClient, stranger: httpx.AsyncClient
    ) -> None:
        problem(await stranger.get("/metrics"), "unauthenticated")
        assert (await client.get("/metrics")).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_on_loopback_metrics_are_open(settings: Settings, host: str) -> None:
    app = create_app(settings.model_copy(update={"host": host}))
    async with (
        app.router.lifespan_context(app),
        client_of(app, base_url="http://localhost") as anybody,
    ):
        assert (await anybody.get("/metrics")).status_code == 200


async def test_the_pages_name_every_path(stranger: httpx.AsyncClient) -> None:
    page = await stranger.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in page.text
    document = (await stranger.get("/openapi.json")).json()
    assert document["info"]["title"] == "Strongroom"


async def test_concurrent_requests_share_one_check(
    stranger: httpx.AsyncClient, application: FastAPI
) -> None:
    readers = manager_of(application).async_pool.readers
    await application.state.runtime.background.stop()
    before = readers.stats.queries
    answers = await asyncio.gather(*(stranger.get("/ready") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    # One read for the check of the connection, and one for its records.
    assert readers.stats.queries - before <= 4
