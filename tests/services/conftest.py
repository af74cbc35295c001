"""The service with a clock that the test sets."""

import pytest

from backend.crypto.service_keys import ServiceKeys
from backend.services.base import Kit
from backend.services.database_service import DatabaseService
from tests.support.clocks import SetClock


@pytest.fixture
def clock() -> SetClock:
    """The clock of `timed`."""
    return SetClock()


@pytest.fixture
def timed(service: DatabaseService, clock: SetClock) -> DatabaseService:
    """The service over the test's database, with the test's clock."""
    keys = ServiceKeys(cursors=b"c" * 32, token_macs=b"t" * 32, audit_chain=b"a" * 32)
    return DatabaseService(Kit(service.db_manager, service.kit.vault, keys, clock=clock))
