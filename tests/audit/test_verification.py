"""Any tampering with the audit behind the service's back is found, and the first damaged entry is
named."""
# ruff: noqa: S608 - the statements are the damage

import hmac
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.repositories.audit_repository import AuditRow
from backend.schemas.projects import ProjectCreate, ProjectUpdate
from backend.schemas.runs import AgentRunCreate
from backend.services.audit.verification import ExportedHead, verify_audit
from backend.services.database_service import DatabaseService
from backend.services.kinds import Kind
from database.connection_manager import DatabaseManager
from tests.support.http import make_project, manager_of, service_of

ROWS = 12


Audited = tuple[Path, AuditChain, list[ExportedHead]]


@pytest.fixture(scope="module")
async def audited_template(
    shared_application: FastAPI, tmp_path_factory: pytest.TempPathFactory
) -> Audited:
    """A closed database with twelve entries, their chain, and every head that the chain has had.
    Copy it; never open it."""
    service, manager = service_of(shared_application), manager_of(shared_application)
    project = ProjectCreate.model_validate({"name": "a", "github_owner": "o", "github_repo": "r"})
    await service.projects.create(project)
    for number in range(ROWS - 4):
        await service.projects.update(1, ProjectUpdate(name=f"name {number}"))
    await service.runs.create(AgentRunCreate(project_id=1, target_text="t"))
    rows = manager.execute_query("SELECT id, mac, at FROM audit_entries ORDER BY id")
    assert len(rows) == ROWS
    path = tmp_path_factory.mktemp("audited") / "template.db"
    with closing(sqlite3.connect(manager.config.path)) as connection:
        connection.execute("VACUUM INTO ?", (str(path),))
    heads = [ExportedHead(row["id"], row["mac"], row["at"]) for row in rows]
    return path, service.audit.chain, heads


@pytest.fixture
def audited(audited_template: Audited, tmp_path: Path) -> Audited:
    """The test's own copy."""
    path, chain, heads = audited_template
    copy = tmp_path / "copy.db"
    shutil.copyfile(path, copy)
    return copy, chain, heads


@pytest.fixture
def damage(audited: Audited) -> Callable[..., str | None]:
    """Runs statements with all checks off, and returns what verification finds afterwards."""
    path, chain, heads = audited

    def run(*statements: str, exported: list[ExportedHead] | None = None) -> str | None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            for statement in statements:
                connection.execute(statement)
        manager = DatabaseManager(path)
        try:
            found = verify_audit(manager, chain, heads if exported is None else exported)
        finally:
            manager.sync_pool.close()
        return None if found is None else str(found)

    return run


Damage = Callable[..., str | None]


def test_an_untouched_audit_is_whole(damage: Damage) -> None:
    assert damage() is None
    assert damage(exported=[]) is None


CHANGES = {
    "at": "'2026-01-31T12:00:00.000000Z'",
    "actor": "'another'",
    "actor_token_id": "7",
    "action": "'project.deleted'",
    "target": "'projects/2'",
    "project_id": "2",
    "fields": "'[]'",
    "request_id": "'other'",
    "version": "77",
    "digest": "'a digest'",
    "address": "'192.0.2.1'",
    "mac": "substr(mac, 2) || 'f'",
}


@pytest.mark.parametrize("column", CHANGES)
@pytest.mark.parametrize("row", [1, 6, ROWS])
def test_no_column_of_any_row_can_be_changed(damage: Damage, column: str, row: int) -> None:
    # The first entry is about a token, which belongs to no project.
    value = "1" if (column, row) == ("project_id", 1) else CHANGES[column]
    found = damage(f"UPDATE audit_entries SET {column} = {value} WHERE id = {row}", exported=[])
    assert found is not None
    assert f"audit entry {row} is not as it was written" in found


def test_every_column_was_tried() -> None:
    assert {"id", *CHANGES} == {*AuditRow._fields, "mac"}


@pytest.mark.parametrize(
    "column", ["actor_token_id", "project_id", "request_id", "version", "digest", "address"]
)
def test_null_is_not_the_same_as_nothing(damage: Damage, column: str) -> None:
    value = "0" if column in ("actor_token_id", "project_id", "version") else "''"
    # The first entry is about a token, which is guarded, and the last one about a run.
    row = ROWS if column == "digest" else 1
    found = damage(
        f"UPDATE audit_entries SET {column} = {value} WHERE id = {row} AND {column} IS NULL",
        exported=[],
    )
    assert found is not None


def test_text_can_not_move_from_one_column_to_the_next(damage: Damage) -> None:
    found = damage(
        "UPDATE audit_entries SET action = action || substr(target, 1, 1),"
        " target = substr(target, 2) WHERE id = 5"
    )
    assert found is not None
    assert "audit entry 5 is not" in found


@pytest.mark.parametrize(("gone", "named"), [("1", 1), ("6", 6), ("2, 3, 4", 2), ("4, 9", 4)])
def test_a_row_that_was_removed_is_missed(damage: Damage, gone: str, named: int) -> None:
    found = damage(f"DELETE FROM audit_entries WHERE id IN ({gone})", exported=[])
    assert found == (f"audit entry {named} is missing: it was removed or renumbered")


def test_a_row_can_not_be_removed_by_closing_the_gap(damage: Damage) -> None:
    found = damage(
        "DELETE FROM audit_entries WHERE id = 6",
        *(f"UPDATE audit_entries SET id = {id - 1} WHERE id = {id}" for id in range(7, ROWS + 1)),
        exported=[],
    )
    assert found is not None
    assert "audit entry 6 is not" in found


def test_rows_can_not_change_places(damage: Damage) -> None:
    found = damage(
        "UPDATE audit_entries SET id = 100 WHERE id = 4",
        "UPDATE audit_entries SET id = 4 WHERE id = 5",
        "UPDATE audit_entries SET id = 5 WHERE id = 100",
        exported=[],
    )
    assert found is not None
    assert "audit entry 4 is not" in found


@pytest.mark.parametrize("id", [0, -5, ROWS + 1])
def test_rows_can_not_be_added(damage: Damage, id: int) -> None:
    columns = ", ".join([*AuditRow._fields[1:], "mac"])
    found = damage(
        f"INSERT INTO audit_entries (id, {columns}) SELECT {id}, {columns} FROM audit_entries"
        " WHERE id = 3",
        exported=[],
    )
    assert found is not None


def test_text_that_is_no_text_is_a_change(damage: Damage) -> None:
    found = damage("UPDATE audit_entries SET actor = CAST(x'ff' AS TEXT) WHERE id = 7")
    assert found == "audit entry 7 can't be read"
    found = damage("UPDATE audit_entries SET actor = 'x' WHERE id = 6")
    assert found is not None
    assert "audit entry 6 is not" in found


def test_rows_that_are_missing_at_the_end_are_proved_by_a_head(damage: Damage) -> None:
    assert damage(f"DELETE FROM audit_entries WHERE id = {ROWS}", exported=[]) is None
    found = damage()
    assert found is not None
    assert f"audit entry {ROWS} is missing at the end" in found
    found = damage("DELETE FROM audit_entries WHERE id > 5")
    assert found is not None
    assert "audit entries 6 to 12 are missing at the end: entry 12 existed at" in found


def test_an_emptied_table_is_proved_by_a_head(damage: Damage) -> None:
    found = damage("DELETE FROM audit_entries")
    assert found is not None
    assert "audit entries 1 to 12 are missing at the end" in found


async def test_an_older_copy_that_was_written_on_is_proved_by_a_head(
    client: AsyncClient, application: FastAPI
) -> None:
    project = await make_project(client)
    body = {"project_id": project["id"], "target_text": "t"}
    run = f"/api/agent-runs/{(await client.post('/api/agent-runs', json=body)).json()['id']}"
    manager, service = manager_of(application), service_of(application)
    await client.patch(run, json={"metadata": {"at": "before"}})
    before = await service.audit.head()
    assert before is not None
    heads = [ExportedHead(before.id, before.mac, "2026-01-31T12:00:00.000000Z")]
    # As if an older copy had been restored, and the service had continued from it.
    manager.execute_command("DELETE FROM audit_entries WHERE id = ?", (before.id,))
    await client.patch(run, json={"metadata": {"at": "after"}})
    assert verify_audit(manager, service.audit.chain) is None
    found = verify_audit(manager, service.audit.chain, heads)
    assert found is not None
    assert found.entry_id == before.id
    assert "an older copy" in str(found)
    await client.patch(run, json={"metadata": {"at": "and after"}})
    assert str(verify_audit(manager, service.audit.chain, heads)) == str(found)


def test_threads_that_share_a_chain_do_not_disturb_one_another() -> None:
    chain = AuditChain(b"k" * 32)
    first = AuditRow(1, "t", "a", None, "b", "x", None, "[]", None, None, None, None)
    rows = [first._replace(id=id, target="x" * id) for id in range(1, 2_001)]
    expected = [chain.mac(ORIGIN, row) for row in rows]
    following = chain.macs(ORIGIN, rows)
    previous = [ORIGIN, *following]
    assert following == [chain.mac(mac, row) for mac, row in zip(previous, rows, strict=False)]
    with ThreadPoolExecutor(4) as threads:
        for macs in threads.map(lambda _: [chain.mac(ORIGIN, row) for row in rows], range(8)):
            assert macs == expected


def test_another_key_fits_nothing(audited: Audited) -> None:
    path, _, heads = audited
    manager = DatabaseManager(path)
    found = verify_audit(manager, AuditChain(bytes(32)), heads)
    manager.sync_pool.close()
    assert found is not None
    assert found.entry_id == 1


async def test_many_rows_are_checked_to_the_last(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    async with service.transaction() as repositories:
        for _ in range(1300):
            await service.kit.audit.record(repositories, Kind.PROJECT_UPDATED, target="projects/1")
    assert verify_audit(manager, service.audit.chain) is None
    head = await service.audit.head()
    assert head is not None
    manager.execute_command("UPDATE audit_entries SET actor = 'x' WHERE id = ?", (head.id,))
    found = verify_audit(manager, service.audit.chain)
    assert found is not None
    assert found.entry_id == head.id


def documented_macs(key: bytes, lines: list[str]) -> Iterator[str]:
    """The MACs of exported lines, computed as the documentation says, without our code."""

    def field(value: object) -> bytes:
        if value is None:
            return b"\xff\xff\xff\xff"
        if isinstance(value, list):
            value = json.dumps(value, separators=(",", ":"))
        data = str(value).encode()
        return len(data).to_bytes(4, "big") + data

    columns = (
        "id",
        "at",
        "actor",
        "actor_token_id",
        "action",
        "target",
        "project_id",
        "fields",
        "request_id",
        "version",
        "digest",
        "address",
    )

    def mac(label: str, previous: str, entry: dict[str, Any], names: tuple[str, ...]) -> str:
        message = b"".join(field(entry[name]) for name in names)
        return hmac.new(key, field(label) + field(previous) + message, "sha256").hexdigest()

    previous, is_earlier = "0" * 64, True
    for line in lines:
        entry = json.loads(line)
        previous = entry["previous_mac"] or previous
        if is_earlier and entry["mac"] == mac("sa1", previous, entry, columns[:9]):
            assert [entry[name] for name in columns[9:]] == [None] * 3
            previous = entry["mac"]
        else:
            is_earlier = False
            previous = mac("sa2", previous, entry, columns)
        yield previous


async def test_an_export_can_be_checked_by_the_documents_alone(
    client: AsyncClient, application: FastAPI
) -> None:
    project = await make_project(
        client, name="Ünïcode", secrets=[{"key": "A", "value": "v"}], settings={}
    )
    await client.put(
        f"/api/projects/{project['id']}/configuration",
        json={"branch_name": "dev", "setup_commands": "make"},
    )
    await client.post(
        "/api/tokens", json={"name": "Ünïcode \N{GRINNING FACE}", "scopes": ["admin"]}
    )
    response = await client.get("/api/audit/export")
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = response.text.splitlines()
    [row] = manager_of(application).execute_query("SELECT wrapped_key FROM installation")
    root = service_of(application).kit.vault.installation_key(row["wrapped_key"])
    macs = list(documented_macs(root.derive("audit-chain"), lines))
    assert len(macs) >= 5
    assert macs == [json.loads(line)["mac"] for line in lines]
