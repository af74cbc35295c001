"""Starts that are refused: one line with the reason, no value shown, nothing changed."""

import asyncio
import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backend.crypto.keyring import Keyring, generate_master_key
from backend.crypto.vault import Vault
from backend.runtime.start import Installer
from database.connection_manager import DatabaseManager
from database.migrator import load_migrations, migrate, pending
from tests.cli.conftest import Command

KEY = generate_master_key("first")
MATERIAL = KEY.partition(":")[2]


@pytest.fixture
def old_database(directory: Path) -> Path:
    """A database under the key `first` with the first version's schema."""
    directory.mkdir()
    path = directory / "strongroom.db"
    manager = DatabaseManager(path)
    with manager.sync_pool.connection() as connection:
        migrate(connection, load_migrations()[:1])
    keyring = Keyring.parse(KEY)

    async def install() -> None:
        async with manager:
            await Installer(manager).install(Vault(keyring, "installation"), keyring)

    asyncio.run(install())
    return path


def _missing(path: Path) -> list[str]:
    manager = DatabaseManager(path)
    try:
        with manager.sync_pool.connection() as connection:
            return [migration.name for migration in pending(connection)]
    finally:
        manager.sync_pool.close()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (generate_master_key("first"), "master key first is not the key"),
        (generate_master_key("second"), "master key first is still in use but missing"),
        ("first:" + base64.b64encode(bytes(range(16))).decode(), "16 bytes"),
        ("first:" + base64.b64encode(bytes(32)).decode(), "one byte repeated"),
        ("first", "has no ':'"),
        (None, "master.key is missing"),
    ],
    ids=["wrong", "missing", "short", "zero", "malformed", "none"],
)
@pytest.mark.parametrize("name", ["serve", "migrate", "import"])
def test_a_wrong_key_is_refused_before_any_migration(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    old_database: Path,
    name: str,
    keys: str | None,
    told: str,
) -> None:
    if keys is not None:
        monkeypatch.setenv("STRONGROOM_MASTER_KEYS", keys)
    before = _missing(old_database)
    assert before
    arguments = {"serve": ["--port", "0"], "migrate": [], "import": ["/dev/null"]}[name]
    outcome = command(name, *arguments, "--data-dir", old_database.parent)
    assert outcome.status == 1
    assert outcome.out == ""
    assert told in outcome.complaint
    for key in (keys, KEY):
        assert key is None or ":" not in key or key.partition(":")[2] not in outcome.err
    assert _missing(old_database) == before
    assert not (old_database.parent / "master.key").exists()


def test_the_right_key_migrates(
    command: Command, monkeypatch: pytest.MonkeyPatch, old_database: Path
) -> None:
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS", f"{generate_master_key('second')},{KEY}")
    waiting = _missing(old_database)
    assert command("migrate", "--json", "--data-dir", old_database.parent).json == {
        "applied": waiting
    }
    assert _missing(old_database) == []


@pytest.mark.parametrize(
    ("variable", "value", "status"),
    [
        ("PORT", "not-a-port", 1),
        ("ENVIRONMENT", "producton", 1),
        ("AUTH", "offf", 1),
        ("LOG_LEVEL", "loud", 1),
        ("MASTER_KEY", "typo", 1),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    variable: str,
    value: str,
    status: int,
) -> None:
    monkeypatch.setenv(f"STRONGROOM_{variable}", value)
    for name in ("serve", "migrate", "verify"):
        outcome = command(name, "--data-dir", directory)
        assert outcome.status == status
        assert f"STRONGROOM_{variable}:" in outcome.complaint
        assert value not in outcome.err
    assert not directory.exists()


def test_a_wrong_flag_is_wrong_use(command: Command, directory: Path) -> None:
    for flag, value in (("--port", "x"), ("--port", "70000"), ("--host", "two words")):
        outcome = command("serve", flag, value, "--data-dir", directory)
        assert outcome.status == 2
        assert flag in outcome.complaint


def test_production_needs_a_key(
    command: Command, monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "production")
    outcome = command("serve", "--port", "0", "--data-dir", directory)
    assert outcome.status == 1
    assert "production needs a master key" in outcome.complaint
    assert not directory.exists()


def test_a_key_file_that_others_can_read_is_refused(
    command: Command, monkeypatch: pytest.MonkeyPatch, directory: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o640)
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS_FILE", str(file))
    outcome = command("serve", "--port", "0", "--data-dir", directory)
    assert outcome.status == 1
    assert f"chmod 600 {file}" in outcome.complaint
    assert MATERIAL not in outcome.err


def test_a_data_directory_that_can_not_be_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = command("serve", "--port", "0", "--data-dir", tmp_path / "file")
    assert outcome.status == 1
    assert "choose another data directory" in outcome.complaint


def test_the_database_of_another_program_is_refused(command: Command, directory: Path) -> None:
    directory.mkdir()
    with closing(sqlite3.connect(directory / "strongroom.db")) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER)")
    outcome = command("serve", "--port", "0", "--data-dir", directory)
    assert outcome.status == 1
    assert "belongs to another program" in outcome.complaint


def test_what_is_no_database_is_refused(command: Command, directory: Path) -> None:
    directory.mkdir()
    (directory / "strongroom.db").write_bytes(b"not a database, but long enough" * 100)
    outcome = command("serve", "--port", "0", "--data-dir", directory)
    assert outcome.status == 1
    assert "damaged" in outcome.complaint


def test_a_restore_that_was_cut_short_is_no_new_installation(
    command: Command, directory: Path
) -> None:
    left = directory / ".strongroom-half.partial"
    left.mkdir(parents=True)
    (left / "strongroom.db").write_bytes(b"the first half")
    for start in (("migrate",), ("serve", "--port", "0")):
        outcome = command(*start, "--data-dir", directory)
        assert outcome.status == 1
        assert f"restore into {directory}" in outcome.complaint
    assert not (directory / "strongroom.db").exists()
    assert not (directory / "master.key").exists()
