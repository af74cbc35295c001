"""The service with a clock that the test sets, and a second service to compare with."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.runtime import Runtime
from backend.services.base import Kit
from backend.services.database_service import DatabaseService
from config.settings import Settings
from tests.support.api import KEYS
from tests.support.clocks import SetClock


@pytest.fixture
def timed(service: DatabaseService, clock: SetClock) -> DatabaseService:
    """The service over the test's database, with the test's clock."""
    return DatabaseService(Kit(service.db_manager, service.kit.vault, KEYS, clock=clock))


@pytest.fixture
async def other(
    tmp_path: Path, database_template: Path, settings: Settings
) -> AsyncIterator[DatabaseService]:
    """The service over another database."""
    directory = tmp_path / "other"
    directory.mkdir()
    shutil.copyfile(database_template, directory / database_template.name)
    runtime = await Runtime.start(settings.model_copy(update={"data_dir": directory}))
    yield runtime.service
    await runtime.stop()


@pytest.fixture
def as_one(request: pytest.FixtureRequest) -> None:
    """For tests that count the units that run as one: there are none when each unit runs twice."""
    if request.config.getoption("--units-twice"):
        pytest.skip("each unit runs twice, the second time on its own")
