"""The service with a clock that the test sets."""

import pytest

from backend.services.base import Kit
from backend.services.database_service import DatabaseService
from tests.support.api import KEYS
from tests.support.clocks import SetClock


@pytest.fixture
def timed(service: DatabaseService, clock: SetClock) -> DatabaseService:
    """The service over the test's database, with the test's clock."""
    return DatabaseService(Kit(service.db_manager, service.kit.vault, KEYS, clock=clock))
