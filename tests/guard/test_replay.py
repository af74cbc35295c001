"""After any operations, the record alone gives the version and the digest of every guarded row."""

import pytest

from backend.services.audit.verification import verify_audit
from backend.services.database_service import DatabaseService
from tests.guard.operations import NAMES, Operations
from tests.guard.replay import faults_of, replay


async def replayed_after(service: DatabaseService, seed: int, number: int) -> Operations:
    """The operations that were done, after the record was replayed in parts and at the end."""
    operations = Operations(service, seed)
    for _ in range(5):
        await operations.do(number // 5)
        assert faults_of(service) == [], f"seed {seed}, after {operations.done}"
    assert verify_audit(service.db_manager, service.audit.chain) is None
    found = replay(service.db_manager, service.kit.keys.row_digests)
    assert found.rows > 10
    assert found.gone > 5
    return operations


@pytest.mark.parametrize("seed", range(2))
async def test_the_record_gives_every_guarded_row_after_random_operations(
    service: DatabaseService, seed: int
) -> None:
    operations = await replayed_after(service, seed, 400)
    assert len(operations.done) >= len(NAMES) - 2
