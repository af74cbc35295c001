"""Directories, sockets and the like under the names of an installation's files: every command
prints one line that names the path."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.crypto.keyring import generate_master_key
from backend.runtime import DataDirectory
from database.sqlite.process_lock import ProcessLock
from tests.cli.commands import CALLS, WITHOUT_DATA, call
from tests.cli.conftest import Command


def bound(path: Path) -> None:
    """Make a socket. Its address must be short, so it is bound from inside its directory."""
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "directory": (Path.mkdir, "is a directory"),
    "pipe": (os.mkfifo, "is a named pipe"),
    "socket": (bound, "is a socket"),
    "device": (lambda path: path.symlink_to("/dev/null"), "is a device"),
    "link to nowhere": (lambda path: path.symlink_to("nowhere"), "is a broken link"),
    "link to itself": (lambda path: path.symlink_to(path.name), "is a broken link"),
}
FILES = (
    "strongroom.db",
    "strongroom.db-wal",
    "strongroom.db-shm",
    "strongroom.db.lock",
    "master.key",
    "audit.heads",
)


def test_every_file_of_an_installation_is_asked_about(directory: Path) -> None:
    files = DataDirectory(directory)
    known = {files.database, files.master_key, *files.made_last, ProcessLock(files.database).path}
    # It is only created, and never opened: see tests/runtime/test_private_files.py.
    known.remove(files.admin_token)
    assert {path.name for path in known} <= set(FILES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_ordinary_file_is_named(
    command: Command, directory: Path, name: str, kind: str
) -> None:
    directory.mkdir(mode=0o700)
    make, told = KINDS[kind]
    make(directory / name)
    for line in ("restore", "token list"):
        outcome = command(*call(line, "--data-dir", str(directory)))
        assert outcome.status == 1
        assert outcome.complaint == (
            f"{directory / name} {told}, but must be an ordinary file: move it away, or choose "
            "another data directory with --data-dir"
        )
    assert [path.name for path in directory.iterdir()] == [name]


@pytest.mark.parametrize("kind", sorted({*KINDS, "file"} - {"directory"}))
def test_a_data_directory_that_is_not_a_directory_is_named_by_its_kind(
    command: Command, directory: Path, kind: str
) -> None:
    make, told = KINDS.get(kind, (Path.touch, "is an ordinary file"))
    make(directory)
    for line in ("migrate", "restore", "token list", "demo", "serve"):
        outcome = command(*call(line, "--data-dir", str(directory)))
        assert outcome.status == 1
        assert outcome.complaint == (
            f"{directory} {told}, but must be a directory: choose another data directory with "
            "--data-dir"
        )
    assert not (directory.parent / "nowhere").exists()


@pytest.mark.parametrize("kind", ["directory", "link to nowhere"])
def test_every_command_says_the_same_of_the_database(
    command: Command, directory: Path, kind: str
) -> None:
    directory.mkdir(mode=0o700)
    make, told = KINDS[kind]
    make(directory / "strongroom.db")
    (directory.parent / "in.jsonl").touch()
    for name in sorted(CALLS.keys() - WITHOUT_DATA):
        outcome = command(*call(name, "--data-dir", str(directory)))
        assert outcome.status == 1, name
        assert f"{directory / 'strongroom.db'} {told}" in outcome.complaint, name
    assert not (directory / "nowhere").exists()


def test_a_link_to_a_database_is_followed(command: Command, directory: Path) -> None:
    assert command("migrate", "--data-dir", str(directory)).status == 0
    database, elsewhere = directory / "strongroom.db", directory.parent / "elsewhere.db"
    database.rename(elsewhere)
    database.symlink_to(elsewhere)
    assert command("migrate", "--data-dir", str(directory)).status == 0
    assert command("verify", "--data-dir", str(directory)).status == 0
    log = directory.parent / "elsewhere.db-wal"
    log.unlink(missing_ok=True)
    log.mkdir()
    assert f"{log} is a directory" in command("verify", "--data-dir", str(directory)).complaint


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_backup_is_told_as_what_it_is(
    command: Command, directory: Path, kind: str
) -> None:
    directory.mkdir(mode=0o700)
    (directory / "master.key").write_text(generate_master_key("first"))
    (directory / "master.key").chmod(0o600)
    make, told = KINDS[kind]
    source = directory.parent / "source.db"
    make(source)
    outcome = command("restore", source, "--data-dir", directory)
    assert outcome.status == 1
    assert outcome.complaint == f"{source} {told}, but must be an ordinary file: name a backup"


@pytest.mark.parametrize("name", [*FILES, "admin.token", "strongroom.db-journal"])
def test_a_backup_takes_no_name_that_the_installation_needs(
    command: Command, directory: Path, name: str
) -> None:
    directory.mkdir(mode=0o700)
    outcome = command("backup", directory / name, "--data-dir", f"{directory}/../data")
    assert outcome.status == 2
    assert f"{name} has a name that the data directory needs" in outcome.complaint
    assert list(directory.iterdir()) == []


def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(directory: Path) -> None:
    directory.mkdir()
    lock = ProcessLock(directory / "strongroom.db")
    os.mkfifo(lock.path)
    assert lock.holder() is None
