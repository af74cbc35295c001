"""Every statement about tokens, the audit and rotations finds its rows through an index."""

import pytest
from fastapi import FastAPI

from backend.repositories.api_token_repository import ApiTokenRepository, NewToken
from backend.repositories.audit_repository import (
    AuditFilter,
    AuditRepository,
    AuditRow,
)
from backend.repositories.guarded_kinds import GUARDED_KINDS, GuardedKind
from backend.repositories.guarded_rows import GuardedRowsRepository
from backend.repositories.key_rotation_repository import KeyRotationRepository
from backend.repositories.sealed_repository import SEALED_KINDS, SealedRepository, SealedValue
from backend.repositories.secret_versions_repository import SecretVersionsRepository
from tests.support.http import manager_of
from tests.support.plans import Explaining, is_careless

NOW = "2026-01-31T12:00:00.000000Z"
IN_THE_ORDER_OF_IDS = {"SCAN audit_entries", "SCAN api_tokens", "SCAN key_rotations"}
"""The first page of an unfiltered list, and its end: the table itself is in this order."""


@pytest.fixture
def plans(application: FastAPI) -> Explaining:
    """Runs statements and keeps their plans."""
    return Explaining(manager_of(application).async_pool)


def careless(plans: Explaining) -> list[str]:
    return [step for step in plans.steps() if is_careless(step)]


async def test_tokens(application: FastAPI, plans: Explaining) -> None:
    tokens = ApiTokenRepository(manager_of(application)).using(plans)
    token_id = await tokens.reserve(NewToken("t", frozenset({"admin"})))
    await tokens.set_mac(token_id, "m")
    await tokens.get(token_id)
    await tokens.revoke(token_id)
    await tokens.set_last_used({token_id: NOW})
    for revoked in (False, True):
        assert (await tokens.page(revoked=revoked, limit=1, after=(99,))).items
    assert careless(plans) == []
    await tokens.page(revoked=False, limit=1, after=None)
    assert set(careless(plans)) <= IN_THE_ORDER_OF_IDS


async def test_the_head_of_the_audit_is_one_row(application: FastAPI, plans: Explaining) -> None:
    audit = AuditRepository(manager_of(application)).using(plans)
    head = await audit.head()
    assert head is not None
    row = AuditRow(
        head.id + 1, NOW, "a", None, "test.done", "tests/1", None, "[]", None, None, None, None
    )
    await audit.insert([(*row, "0" * 64)])
    assert await audit.mac_of(head.id) == head.mac
    assert await audit.has("test.done", "tests/1")
    assert set(careless(plans)) <= IN_THE_ORDER_OF_IDS


@pytest.mark.shared
@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (AuditFilter(project_id=1), "audit_entries_project"),
        (AuditFilter(action="project.created"), "audit_entries_action"),
        (AuditFilter(actor="admin"), "audit_entries_actor"),
        (AuditFilter(visible=(1,)), "audit_entries_project"),
        (AuditFilter(visible=(1, 2, 3)), "audit_entries_project"),
        (AuditFilter(), None),
    ],
)
async def test_lists_of_the_audit(
    application: FastAPI, plans: Explaining, filter: AuditFilter, index: str | None
) -> None:
    audit = AuditRepository(manager_of(application)).using(plans)
    await audit.page(filter, limit=10, after=(99,))
    await audit.following(filter, 5, 10)
    steps = plans.steps()
    assert [step for step in steps if is_careless(step)] == []
    if index is not None:
        assert all(index in step for step in steps if step.startswith("SEARCH audit_entries"))
    await audit.page(filter, limit=10, after=None)
    assert set(careless(plans)) <= IN_THE_ORDER_OF_IDS


@pytest.mark.shared
@pytest.mark.parametrize("kind", GUARDED_KINDS, ids=lambda kind: kind.name)
async def test_guarded_rows_with_their_newest_entries(
    application: FastAPI, plans: Explaining, kind: GuardedKind
) -> None:
    rows = GuardedRowsRepository(manager_of(application)).using(plans)
    await rows.values(kind, [1, 2])
    assert careless(plans) == []
    reads = [
        rows.recorded(kind, [1, 2]),
        rows.recorded_after(kind, 5, 10),
        rows.recorded_after(kind, None, 9),
    ]
    if kind.in_project:
        reads.append(rows.recorded_of(kind, [1, 2]))
    for read in reads:
        await read
        steps = plans.steps()
        assert [step for step in steps if is_careless(step)] == []
        # The index finds the entry of the row, and that of its project.
        found = [step for step in steps if "SEARCH n USING PRIMARY KEY (target=?)" in step]
        assert len(found) == (2 if kind.in_project else 1)


@pytest.mark.shared
async def test_newest_entries_of_targets(application: FastAPI, plans: Explaining) -> None:
    rows = GuardedRowsRepository(manager_of(application)).using(plans)
    for read in (rows.newest("tokens/1"), rows.newest_of(["tokens/1", "tokens/2"])):
        assert await read
        steps = plans.steps()
        assert [step for step in steps if is_careless(step)] == []
        assert any("SEARCH n USING PRIMARY KEY (target=?)" in step for step in steps)


async def test_rotations(application: FastAPI, plans: Explaining) -> None:
    rotations = KeyRotationRepository(manager_of(application)).using(plans)
    begun = await rotations.begin(reencrypt=True, total=1)
    await rotations.advance(begun.id, done=1, failed=0)
    await rotations.set_counts(begun.id, total=1, done=1, failed=0)
    await rotations.rewrap_installation("test", "x")
    await rotations.keys_under_others("test", 5, 10)
    await rotations.keys_to_replace(7, 5, 10)
    await rotations.keys_to_empty(7, 5, 10)
    await rotations.retire(5)
    await rotations.remove_unused(5)
    sealed = SealedRepository(manager_of(application)).using(plans)
    for kind in SEALED_KINDS:
        await sealed.under(kind, (1, 1), 5, 10)
        await sealed.move(kind, SealedValue(1, 1, "a", 1, 1, "x"), 1, "y")
    versions = SecretVersionsRepository(manager_of(application)).using(plans)
    await versions.under(1, 1, 5, 10)
    await rotations.finish(begun.id)
    # The versions of one project are sorted by id.
    assert careless(plans) == ["USE TEMP B-TREE FOR ORDER BY"] * 2
    await rotations.running()
    # The partial index contains only the running rotation.
    assert careless(plans) == ["SCAN key_rotations USING INDEX key_rotations_running"]
    await rotations.latest()
    assert set(careless(plans)) <= IN_THE_ORDER_OF_IDS
