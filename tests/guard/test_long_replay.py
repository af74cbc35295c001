"""The long form of `test_replay.py`."""

import secrets

import pytest

from backend.services.database_service import DatabaseService
from tests.guard.operations import NAMES
from tests.guard.test_replay import replayed_after


@pytest.mark.long_form
async def test_the_record_gives_every_guarded_row_after_five_thousand_operations(
    service: DatabaseService,
) -> None:
    operations = await replayed_after(service, secrets.randbelow(2**32), 5000)
    assert operations.done.keys() == NAMES
