"""`strongroom backup` and `strongroom restore` as processes, and their failures."""

import hashlib
import os
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from backend.crypto.keyring import generate_master_key
from tests.cli.conftest import Command, Install
from tests.support.forked import Forked
from tests.support.processes import (
    PATIENCE,
    STRONGROOM,
    Serving,
    document,
    environment,
    run,
)

KEY = generate_master_key("first")
FILE = "strongroom.db"


@pytest.fixture
def installation(install: Install, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with some projects under the key `first`."""
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS", KEY)
    return install([document(n) for n in range(10)])


@pytest.fixture
def backup(command: Command, installation: Path, tmp_path: Path) -> Path:
    """A backup of `installation`."""
    target = tmp_path / "backup.db"
    assert command("backup", target, "--data-dir", installation).status == 0
    return target


def _leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".strongroom-*.partial"))


def test_a_backup_comes_back_as_it_was(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    target = tmp_path / "backup.db"
    outcome = command("backup", target, "--json", "--data-dir", installation)
    assert (outcome.status, outcome.err) == (0, "")
    made = outcome.json
    assert made["path"] == str(target)
    assert made["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert made["verified"]["master_keys"] == ["first"]
    assert target.stat().st_mode & 0o777 == 0o600
    assert _leftovers(tmp_path) == []
    restored = tmp_path / "restored"
    outcome = command("restore", target, "--json", "--data-dir", restored)
    assert outcome.json == {"path": str(restored / FILE), "verified": made["verified"]}
    assert (restored / FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in restored.iterdir()) == [FILE, f"{FILE}.lock"]
    assert command("verify", "--data-dir", restored).status == 0
    lines = []
    for source in (installation, restored):
        command(
            "export", tmp_path / f"{source.name}.jsonl", "--reveal-secrets", "--data-dir", source
        )
        lines.append((tmp_path / f"{source.name}.jsonl").read_bytes())
    assert lines[0] == lines[1]


def test_it_says_that_keys_are_kept_apart(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    outcome = command("backup", tmp_path / "backup.db", "--data-dir", installation)
    assert "master key first is not in it" in outcome.out
    assert KEY.partition(":")[2] not in outcome.out


def test_nothing_is_overwritten(command: Command, installation: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    target.write_text("precious", encoding="utf-8")
    outcome = command("backup", target, "--data-dir", installation)
    assert outcome.status == 1
    assert f"{target} exists" in outcome.complaint
    assert target.read_text(encoding="utf-8") == "precious"
    outcome = command("backup", tmp_path / "nowhere" / "b.db", "--data-dir", installation)
    assert "create it first" in outcome.complaint
    assert (
        "does not exist" in command("backup", tmp_path / "b.db", "--data-dir", tmp_path).complaint
    )


def test_a_backup_beside_a_running_server_and_tokens_that_still_work(tmp_path: Path) -> None:
    env = environment(MASTER_KEYS=KEY)
    target = tmp_path / "backup.db"
    with Serving(tmp_path / "data", env=env) as server, server.client() as client:
        body = {"name": "n", "github_owner": "o", "github_repo": "r"}
        assert client.post("/api/projects", json=body).status_code == 201
        done = run("backup", target, "--data-dir", server.directory, cwd=tmp_path, env=env)
        assert done.status == 0, done.err
        token = server.token
        # Nothing is restored into a directory with a running server.
        refused = run("restore", target, "--data-dir", server.directory, cwd=tmp_path, env=env)
        assert refused.status == 1
        assert f"process {server.process.pid} is using" in refused.err
    new = tmp_path / "new"
    assert run("restore", target, "--data-dir", new, cwd=tmp_path, env=env).status == 0
    with Serving(new, env=env) as server:
        assert not (server.directory / "admin.token").exists()
        (server.directory / "admin.token").write_text(token, encoding="ascii")
        with server.client() as client:
            assert client.get("/api/projects/by-repo/o/r").status_code == 200
        assert server.end() == 0


def test_only_an_empty_directory_is_restored_into(
    command: Command, backup: Path, installation: Path, tmp_path: Path
) -> None:
    before = (installation / FILE).read_bytes()
    outcome = command("restore", backup, "--data-dir", installation)
    assert outcome.status == 1
    assert "is not empty" in outcome.complaint
    assert (installation / FILE).read_bytes() == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").touch()
    assert "(notes.txt)" in command("restore", backup, "--data-dir", other).complaint
    assert [path.name for path in other.iterdir()] == ["notes.txt"]
    fit = tmp_path / "fit"
    (fit / "backups").mkdir(parents=True)
    (fit / "master.key").write_text(KEY, encoding="ascii")
    (fit / "master.key").chmod(0o600)
    assert command("restore", backup, "--data-dir", fit).status == 0


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (generate_master_key("first"), "master key first is not the key"),
        (generate_master_key("second"), "master key first is still in use but missing"),
        (None, "no master key is configured"),
    ],
    ids=("another key", "another id", "no key"),
)
def test_a_backup_is_restored_with_its_keys_only(
    command: Command,
    backup: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: str | None,
    told: str,
) -> None:
    if keys is None:
        monkeypatch.delenv("STRONGROOM_MASTER_KEYS")
    else:
        monkeypatch.setenv("STRONGROOM_MASTER_KEYS", keys)
    outcome = command("restore", backup, "--data-dir", tmp_path / "new")
    assert outcome.status == 1
    assert told in outcome.complaint
    assert not (tmp_path / "new" / FILE).exists()


DAMAGES = {
    "INSERT INTO schema_migrations SELECT 9999, name, checksum, applied_at"
    " FROM schema_migrations WHERE version = 1": "version 9999",
    "DELETE FROM audit_entries WHERE id = 7": "audit entry 7 is missing",
    "UPDATE audit_entries SET actor = 'x' WHERE id = 3": "audit entry 3",
    "DELETE FROM installation": "no installation",
    "UPDATE project_secrets SET project_id = 999 WHERE id = 1": "does not exist",
}


@pytest.mark.parametrize("statement", DAMAGES)
def test_what_is_wrong_with_a_backup_is_found_before_it_is_there(
    command: Command, backup: Path, tmp_path: Path, statement: str
) -> None:
    with closing(connect(backup)) as connection:
        connection.execute(statement)
        connection.commit()
    outcome = command("restore", backup, "--data-dir", tmp_path / "new")
    assert outcome.status == 1
    assert DAMAGES[statement] in outcome.complaint
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"{FILE}.lock"]


def test_a_damaged_page_is_found_when_copying_and_when_restoring(
    command: Command, backup: Path, installation: Path, tmp_path: Path
) -> None:
    for file in (backup, installation / FILE):
        size = file.stat().st_size
        with file.open("r+b") as stream:
            # Damage in the pages of the schema would be reported in another way, so they stay
            # whole.
            for page in range(size // 4096 // 2, size // 4096):
                stream.seek(page * 4096)
                stream.write(b"\xff" * 64)
    outcome = command("restore", backup, "--data-dir", tmp_path / "new")
    assert outcome.status == 1
    assert not (tmp_path / "new" / FILE).exists()
    outcome = command("backup", tmp_path / "second.db", "--data-dir", installation)
    assert outcome.status == 1
    assert not (tmp_path / "second.db").exists()
    assert _leftovers(tmp_path) == []


def test_what_is_no_backup_is_refused(command: Command, backup: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert "does not exist" in command("restore", tmp_path / "x", "--data-dir", new).complaint
    text = tmp_path / "text"
    text.write_text("not a database\n" * 1000, encoding="utf-8")
    assert command("restore", text, "--data-dir", new).status == 1
    other = tmp_path / "other.db"
    with closing(connect(other)) as connection:
        connection.execute("CREATE TABLE t (a)")
    outcome = command("restore", other, "--data-dir", new)
    assert "belongs to another program" in outcome.complaint
    backup.with_name("backup.db-wal").touch()
    assert "write-ahead log" in command("restore", backup, "--data-dir", new).complaint
    assert not (new / FILE).exists()


@pytest.fixture
def large(installation: Path) -> Path:
    """`installation` with so many rows that copying takes a moment."""
    with closing(connect(installation / FILE)) as connection:
        connection.execute(
            "INSERT INTO agent_runs (project_id, run_number, target_text, planning_statement,"
            " created_at, updated_at) SELECT id, 1, 'x', hex(zeroblob(500000)), created_at,"
            " updated_at FROM projects"
        )
        connection.commit()
    return installation


@pytest.mark.parametrize("bytes_copied", [0, 1, 8_000_000])
def test_a_backup_that_is_killed_leaves_nothing_that_stays(
    command: Command, large: Path, tmp_path: Path, bytes_copied: int
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    arguments = ["backup", str(folder / "b.db"), "--data-dir", str(large)]
    _kill_when(arguments, folder, bytes_copied)
    assert not (folder / "b.db").exists()
    assert _leftovers(folder)
    assert command("backup", folder / "b.db", "--data-dir", large).status == 0
    assert [path.name for path in folder.iterdir()] == ["b.db"]
    assert command("verify", "--data-dir", large).status == 0


@pytest.mark.parametrize("bytes_copied", [0, 1, 8_000_000])
def test_a_restore_that_is_killed_leaves_no_half(
    command: Command, large: Path, tmp_path: Path, bytes_copied: int
) -> None:
    backup, new = tmp_path / "b.db", tmp_path / "new"
    assert command("backup", backup, "--data-dir", large).status == 0
    _kill_when(["restore", str(backup), "--data-dir", str(new)], new, bytes_copied)
    assert not (new / FILE).exists()
    assert _leftovers(new)
    assert command("restore", backup, "--data-dir", new).status == 0
    assert sorted(path.name for path in new.iterdir()) == [FILE, f"{FILE}.lock"]
    assert command("verify", "--data-dir", new).status == 0


def _kill_when(arguments: list[str], folder: Path, size: int) -> None:
    """Start the command, and kill it when its workspace in `folder` holds at least `size` bytes."""
    env = environment(MASTER_KEYS=KEY)
    process = Forked(arguments, cwd=folder.parent, env=env)
    try:
        while process.poll() is None:
            files = [file for path in _leftovers(folder) for file in (path, *path.glob("*.db"))]
            if files and sum(map(_size, files[1:])) >= size:
                process.send_signal(signal.SIGKILL)
                break
    finally:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        # The process has finished it since.
        return 0


UNSHARE = shutil.which("unshare")


def _can_mount() -> bool:
    if UNSHARE is None:
        return False
    probe = [UNSHARE, "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="needs a file system of its own")
def test_a_full_disk_is_told_and_nothing_is_left(large: Path, tmp_path: Path) -> None:
    assert UNSHARE is not None
    small = tmp_path / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=1m tmpfs "$1"; "$2" backup "$1/b.db" --data-dir "$3";'
    script += ' echo $? $(ls -A "$1" | wc -l)'
    done = subprocess.run(
        [UNSHARE, "-rm", "sh", "-c", script, "sh", str(small), str(STRONGROOM), str(large)],
        env=environment(MASTER_KEYS=KEY),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.split() == ["1", "0"]
    assert done.stderr == (
        "strongroom: the disk is full: free some space, and run the command again\n"
    )


@pytest.mark.skipif(not _can_mount(), reason="needs a file system of its own")
def test_a_full_disk_is_507_over_http(large: Path) -> None:
    script = 'mkdir "$2/backups" && mount -t tmpfs -o size=1m tmpfs "$2/backups" && exec "$1" serve'
    script += ' --port 0 --data-dir "$2"'
    assert UNSHARE is not None
    with OwnFileSystem(large, script) as server, server.client() as client:
        answer = client.post("/api/backups")
        assert (answer.status_code, answer.json()["code"]) == (507, "database_full")
        assert client.get("/api/backups").json()["backups"] == []
        seen = Path(f"/proc/{server.process.pid}/root{large}/backups")
        assert not os.path.lexists(seen) or list(seen.iterdir()) == []
        assert client.get("/ready").status_code == 200


class OwnFileSystem(Serving):
    """A server with its own file systems, started by a script."""

    def __init__(self, directory: Path, script: str) -> None:
        self.directory = directory
        self.lines = []
        self._log = (directory.parent / "server.log").open("w+b")
        self.process = subprocess.Popen(
            [UNSHARE or "", "-rm", "sh", "-c", script, "sh", str(STRONGROOM), str(directory)],
            env=environment(MASTER_KEYS=KEY),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
