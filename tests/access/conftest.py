"""The service with a clock that the test sets."""

import pytest

from backend.services.database_service import DatabaseService
from tests.support.clocks import SetClock


@pytest.fixture
def clock(service: DatabaseService) -> SetClock:
    """The service's clock."""
    service.clock = clock = SetClock()
    return clock
