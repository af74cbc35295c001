"""What a start finds in its directory: files that it can't use, trust or do without."""

import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backend.cli import main
from database.sqlite.process_lock import ProcessLock
from tests.cli.conftest import Command
from tests.support.processes import Outcome, Serving

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, as only root can")
OTHER = 65534
STARTS = (("migrate",), ("serve", "--port", "0"), ("import", "/dev/null"), ("token", "list"))
# Commands that need an existing database before anything else.
CHANGES = (("token", "create", "x", "--scope", "admin"), ("prune",), ("keys", "rotate"))


@pytest.fixture
def installed(command: Command, directory: Path) -> Path:
    """An installation that was closed in an orderly way."""
    assert command("migrate", "--data-dir", directory).status == 0
    (directory / "audit.heads").touch()
    return directory


def as_another_user(*arguments: str | Path, said: Path) -> Outcome:
    """Run the command as a user without privileges. It runs in a fork, because this user may not
    read the interpreter's files."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
            os.setgroups([])
            os.setresgid(OTHER, OTHER, OTHER)
            os.setresuid(OTHER, OTHER, OTHER)
            sys.stderr = os.fdopen(2, "w")
            status = main([str(argument) for argument in arguments])
            sys.stderr.flush()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return Outcome(os.waitstatus_to_exitcode(ended), "", said.read_text(encoding="utf-8"))


def give_away(directory: Path) -> None:
    """Give all files to the other user, and let this user reach them."""
    for path in (directory, *directory.iterdir()):
        os.chown(path, OTHER, OTHER)
    for parent in directory.parents:
        # Up to the directory for temporary files, which everybody can reach.
        if parent.stat().st_mode & stat.S_ISVTX:
            break
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH | stat.S_IROTH)


def opened(directory: Path) -> None:
    """Leave a write-ahead log and its index, as a killed process does."""
    program = (
        "import sqlite3, sys, os\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA user_version = 0')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, directory / "strongroom.db"], check=True)


@AS_ROOT
@pytest.mark.parametrize(
    ("name", "mode", "owner"),
    [
        ("strongroom.db", 0o444, OTHER),
        ("strongroom.db", 0o644, 0),
        ("strongroom.db-wal", 0o644, 0),
        ("strongroom.db-shm", 0o644, 0),
        ("strongroom.db.lock", 0o444, OTHER),
        (".", 0o555, OTHER),
    ],
)
def test_a_file_that_can_not_be_written_is_named_with_its_mode_at_the_start(
    installed: Path, tmp_path: Path, name: str, mode: int, owner: int
) -> None:
    opened(installed)
    give_away(installed)
    file = installed / name
    os.chown(file, owner, owner)
    file.chmod(mode)
    outcome = as_another_user("migrate", "--data-dir", installed, said=tmp_path / "said")
    assert outcome.status == 1
    assert f"{file} can't be written" in outcome.complaint
    assert f"{mode:04o}" in outcome.complaint
    assert f"user {owner}" in outcome.complaint


@AS_ROOT
@pytest.mark.parametrize(
    "call", [("serve", "--port", "0"), ("migrate",), ("migrate", "--check"), ("verify",)]
)
@pytest.mark.parametrize("place", [".", ".."])
def test_a_directory_that_can_not_be_searched_is_named_with_its_mode(
    command: Command, tmp_path: Path, place: str, call: tuple[str, ...]
) -> None:
    directory = tmp_path / "parent" / "data"
    assert command("migrate", "--data-dir", directory).status == 0
    # These import what the fork needs, because the fork may not read the interpreter's files.
    command("verify", "--data-dir", directory)
    socket.getaddrinfo("localhost", 0)
    give_away(directory)
    folder = Path(os.path.normpath(directory / place))
    os.chown(folder, OTHER, OTHER)
    folder.chmod(0o600)
    outcome = as_another_user(*call, "--data-dir", directory, said=tmp_path / "said")
    assert outcome.status == 1
    assert f"{folder} can't be searched" in outcome.complaint
    assert "0600" in outcome.complaint
    assert f"user {OTHER}" in outcome.complaint


@AS_ROOT
def test_a_command_that_only_reads_names_a_log_that_can_not_be_read(
    command: Command, installed: Path, tmp_path: Path
) -> None:
    # This imports every module that the fork needs, because the fork may not read them.
    command("verify", "--data-dir", installed)
    opened(installed)
    give_away(installed)
    log = installed / "strongroom.db-wal"
    os.chown(log, 0, 0)
    log.chmod(0o600)
    outcome = as_another_user("verify", "--data-dir", installed, said=tmp_path / "said")
    assert outcome.status == 1
    assert f"{log} can't be read" in outcome.complaint


@pytest.mark.parametrize(
    "left",
    [
        ["strongroom.db-wal"],
        ["audit.heads"],
        ["admin.token"],
        ["master.key"],
        ["strongroom.db-wal", "audit.heads", "admin.token", "master.key"],
    ],
    ids=" ".join,
)
def test_a_directory_that_lost_its_database_is_no_new_installation(
    command: Command, installed: Path, left: list[str]
) -> None:
    opened(installed)
    (installed / "admin.token").touch()
    for path in installed.iterdir():
        if path.name not in left:
            path.unlink()
    before = {path.name: path.read_bytes() for path in installed.iterdir()}
    for start in (*STARTS, *CHANGES, ("verify",), ("migrate", "--check")):
        outcome = command(*start, "--data-dir", installed)
        assert outcome.status == 1, start
        assert "restore a backup" in outcome.complaint, start
        for name in left:
            assert name in outcome.complaint, start
    kept = {path.name: path.read_bytes() for path in installed.iterdir() if path.suffix != ".lock"}
    assert kept == before


@pytest.mark.parametrize("content", [b"", b"x"])
def test_an_empty_database_beside_a_log_is_no_new_installation(
    command: Command, installed: Path, content: bytes
) -> None:
    opened(installed)
    (installed / "strongroom.db").write_bytes(content)
    outcome = command("migrate", "--data-dir", installed)
    assert outcome.status == 1
    assert "strongroom.db is empty" in outcome.complaint
    assert "strongroom.db-wal" in outcome.complaint
    assert (installed / "strongroom.db-wal").stat().st_size > 0


def test_a_master_key_that_the_configuration_names_is_no_trace(
    command: Command, installed: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (installed / "master.key").read_bytes()
    shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    (directory / "master.key").write_bytes(key)
    (directory / "master.key").chmod(0o600)
    assert command("migrate", "--data-dir", directory).status == 1
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS_FILE", str(directory / "master.key"))
    assert command("migrate", "--data-dir", directory).status == 0


def torn(file: Path) -> None:
    """Leave the file as `cp` does when it copies during a write: some pages are missing."""
    content = bytearray(file.read_bytes())
    for page in range(3, len(content) // 4096, 5):
        content[page * 4096 : page * 4096 + 4096] = bytes(4096)
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["without its lock", "with the lock of a server", "with a log"])
def test_a_torn_copy_of_a_live_database_does_not_start(
    command: Command, installed: Path, tmp_path: Path, how: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for name in ("strongroom.db", "master.key"):
        shutil.copy(installed / name, copy / name)
    lock = copy / "strongroom.db.lock"
    if how == "with the lock of a server":
        lock.write_text("4711\n")
    if how == "with a log":
        lock.write_text("")
        opened(copy)
    torn(copy / "strongroom.db")
    outcome = command("migrate", "--data-dir", copy)
    assert outcome.status == 1
    assert f"{copy / 'strongroom.db'} is damaged" in outcome.complaint
    # The first look does not make it count as whole.
    assert command("migrate", "--data-dir", copy).status == 1


def test_a_database_that_was_closed_in_order_is_not_looked_through(
    command: Command, installed: Path
) -> None:
    lock = ProcessLock(installed / "strongroom.db")
    assert command("migrate", "--data-dir", installed).status == 0
    lock.acquire()
    assert lock.in_order
    lock.release()
    torn(installed / "strongroom.db")
    # The file was not checked, so it is not refused as damaged copies are.
    assert "like a copy made during a write" not in command("migrate", "--data-dir", installed).err


def flipped(content: bytes) -> bytes:
    """Change one bit of the log's first frame."""
    return content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]


def cut(content: bytes) -> bytes:
    """Remove the salt from the log's header."""
    return content[:40] + bytes(8) + content[48:]


@pytest.mark.parametrize("damage", [flipped, cut])
def test_transactions_behind_a_broken_frame_are_told_by_verify_and_by_the_start(
    command: Command, directory: Path, damage: Callable[[bytes], bytes]
) -> None:
    with Serving(directory) as serving:
        assert serving.end() == 0
    with Serving(directory) as serving, serving.client() as client:
        for number in range(12):
            answer = client.post("/api/logs", json={"level": "INFO", "message": f"log {number}"})
            assert answer.status_code == 201
        assert serving.end(signal.SIGKILL) == -signal.SIGKILL
    log = directory / "strongroom.db-wal"
    log.write_bytes(damage(log.read_bytes()))
    damaged = log.read_bytes()
    outcome = command("verify", "--data-dir", directory)
    assert outcome.status == 1
    assert outcome.complaint.startswith("log: frame 1 of the write-ahead log")
    assert "2 acknowledged transactions" in outcome.complaint
    with Serving(directory) as serving:
        assert "the write-ahead log is damaged" in serving.err
        assert (directory / "strongroom.db-wal.damaged").read_bytes() == damaged
        assert serving.end() == 0
    # The rest is whole.
    assert command("verify", "--data-dir", directory).status == 0


def test_an_installation_whose_first_log_is_lost_is_not_made_again(
    command: Command, directory: Path
) -> None:
    with Serving(directory) as serving:
        assert serving.end(signal.SIGKILL) == -signal.SIGKILL
    log, token = directory / "strongroom.db-wal", directory / "admin.token"
    content, before = log.read_bytes(), token.read_bytes()
    # Nothing was checkpointed yet, and SQLite treats a log with a broken header as empty.
    log.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    for start in (*STARTS[:3], *STARTS[:3]):
        outcome = command(*start, "--data-dir", directory)
        assert outcome.status == 1, start
        assert "has lost its tables" in outcome.err
    assert (directory / "strongroom.db-wal.damaged").exists()
    assert token.read_bytes() == before


def test_a_log_without_damage_is_taken_without_a_word(command: Command, installed: Path) -> None:
    with closing(sqlite3.connect(installed / "strongroom.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    opened(installed)
    outcome = command("migrate", "--data-dir", installed)
    assert (outcome.status, outcome.err) == (0, "")
