"""An audit that an earlier version began: its entries stay verifiable, and none can pass for one of
the other format."""

# ruff: noqa: S608 - the statements are the damage

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.crypto.row_digests import RowDigests
from backend.main import create_app
from backend.repositories import Repositories, initialize_database
from backend.runtime import Runtime
from backend.schemas.projects import ProjectCreate
from backend.services.audit.verification import verify_audit
from backend.services.kinds import Kind
from backend.services.recording import AuditEvent, Recorder
from config.settings import Settings
from database.base import utc_now
from database.connection_manager import DatabaseManager
from database.migrator import load_migrations, migrate
from tests.audit.test_verification import documented_macs
from tests.support.clients import client_of, token_of_first_start
from tests.support.earlier import EXTEND_AUDIT, SA1_COLUMNS, documented_mac, make_earlier
from tests.support.http import make_project, manager_of, new_project, service_of

KEY = b"a" * 32
EARLIER, LATER = 5, 4
AT = "2026-01-31T12:00:00.000000Z"


def insert_earlier(connection: sqlite3.Connection, id: int, previous: str) -> str:
    """Add a row of the earlier format. Returns its MAC."""
    row = (id, AT, "ci", 7, "agent_run.created", f"agent_runs/{id}", 1, '["name"]', None)
    mac = documented_mac("sa1", previous, *row, key=KEY)
    names = ", ".join((*SA1_COLUMNS, "mac"))
    connection.execute(
        f"INSERT INTO audit_entries ({names}) VALUES ({', '.join('?' * 10)})", (*row, mac)
    )
    return mac


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the earlier version, with some entries. Copy it; never open it."""
    path = tmp_path_factory.mktemp("earlier") / "strongroom.db"
    migrations = [one for one in load_migrations() if one.version < EXTEND_AUDIT]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, migrations)
        mac = ORIGIN
        for id in range(1, EARLIER + 1):
            mac = insert_earlier(connection, id, mac)
    return path


@pytest.fixture
async def continued(before: Path, tmp_path: Path) -> Path:
    """The same database, migrated, with entries of the present format after them."""
    path = Path(shutil.copy(before, tmp_path))
    manager = DatabaseManager(path)
    initialize_database(manager)
    async with manager:
        repositories = Repositories(manager)
        recorder = Recorder(AuditChain(KEY), RowDigests(KEY), utc_now, repositories)
        manager.async_pool.journal.write_entries = recorder.write
        for version in range(1, LATER + 1):
            event = AuditEvent(Kind.PROJECT_UPDATED, "projects/1", 1, ("name",), version)
            await recorder.record_all(repositories, [event])
    return path


Damage = Callable[..., str | None]


@pytest.fixture
def damage(continued: Path) -> Damage:
    """Runs statements on `continued`, and returns what verification finds afterwards."""

    def run(*statements: str) -> str | None:
        with closing(sqlite3.connect(continued, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
        return found(continued)

    return run


def found(path: Path) -> str | None:
    manager = DatabaseManager(path)
    try:
        problem = verify_audit(manager, AuditChain(KEY))
    finally:
        manager.sync_pool.close()
    return None if problem is None else str(problem)


def test_entries_of_the_earlier_version_are_verified_before_and_after_the_migration(
    before: Path, tmp_path: Path, damage: Damage
) -> None:
    # As a backup of the earlier version is, before it is restored.
    assert found(Path(shutil.copy(before, tmp_path / "backup.db"))) is None
    assert damage() is None


def test_a_change_in_a_backup_of_the_earlier_version_is_found(before: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(before, tmp_path / "backup.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE audit_entries SET actor = 'x' WHERE id = 3")
    assert "audit entry 3 is not as it was written" in str(found(path))


@pytest.mark.parametrize("id", [1, EARLIER, EARLIER + 1, EARLIER + LATER])
@pytest.mark.parametrize("column", ["version = 9", "digest = 'd'", "address = '192.0.2.1'"])
def test_no_entry_of_either_format_takes_a_value_in_a_new_column(
    damage: Damage, id: int, column: str
) -> None:
    problem = damage(f"UPDATE audit_entries SET {column} WHERE id = {id}")
    assert f"audit entry {id} is not as it was written" in str(problem)


def test_an_entry_does_not_become_an_earlier_one_by_losing_its_new_columns(damage: Damage) -> None:
    for id in range(EARLIER + 1, EARLIER + LATER + 1):
        problem = damage(
            "UPDATE audit_entries SET version = NULL, digest = NULL, address = NULL"
            f" WHERE id >= {id}"
        )
        assert problem is not None


def test_no_entry_of_the_earlier_format_may_follow_one_of_the_present_format(
    continued: Path,
) -> None:
    # Even with the right key, as an earlier version would write it that was put back.
    with closing(sqlite3.connect(continued, isolation_level=None)) as connection:
        [(previous,)] = connection.execute(
            "SELECT mac FROM audit_entries ORDER BY id DESC LIMIT 1"
        ).fetchall()
        insert_earlier(connection, EARLIER + LATER + 1, previous)
    assert f"audit entry {EARLIER + LATER + 1} is not as it was written" in str(found(continued))


@pytest.mark.parametrize("gone", [1, EARLIER, EARLIER + 1])
def test_an_entry_at_the_border_that_was_removed_is_missed(damage: Damage, gone: int) -> None:
    problem = damage(f"DELETE FROM audit_entries WHERE id = {gone}")
    assert problem == f"audit entry {gone} is missing: it was removed or renumbered"


async def test_an_installation_of_the_earlier_version_goes_on_with_its_chain(
    settings: Settings,
) -> None:
    runtime = await Runtime.start(settings)
    await runtime.service.projects.create(ProjectCreate.model_validate(new_project()))
    key = runtime.service.kit.keys.audit_chain
    await runtime.stop()
    make_earlier(runtime.manager.config.path, key, before=EXTEND_AUDIT)
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        client_of(app, token_of_first_start(settings)) as client,
    ):
        await make_project(client)
        entries = (await client.get("/api/audit")).json()["entries"]
        chain = service_of(app).audit.chain
        assert verify_audit(manager_of(app), chain) is None
        exported = (await client.get("/api/audit/export")).text.splitlines()
    assert [(entry["action"], entry["version"], entry["address"]) for entry in entries] == [
        ("settings.created", 1, "127.0.0.1"),
        ("project.created", 1, "127.0.0.1"),
        # The start guarded a configuration, a project and a token.
        ("rows.guarding_finished", None, None),
        ("rows.guarded", 1, None),
        ("rows.guarded", 1, None),
        ("rows.guarded", None, None),
        ("rows.guarding_started", None, None),
        ("project.created", None, None),
        ("token.created", None, None),
    ]
    macs = list(documented_macs(key, exported))
    assert macs == [json.loads(line)["mac"] for line in exported]
