"""Repositories over the test's database."""

import pytest

from backend.repositories import Repositories
from database.connection_manager import DatabaseManager
from models import Project
from tests.support.clocks import SetClock


@pytest.fixture
def repositories(manager: DatabaseManager, clock: SetClock) -> Repositories:
    """Every repository over an empty database."""
    return Repositories(manager, clock)


@pytest.fixture
async def project(repositories: Repositories) -> Project:
    """A project."""
    return await repositories.projects.create(
        {"name": "Payments", "github_owner": "Acme", "github_repo": "Payments"}
    )
