"""The command line in general: help, wrong use, and unexpected errors."""

import os
from pathlib import Path

import pytest
import typer.main

from backend.cli import app
from backend.cli.failures import guarded
from backend.crypto.keyring import Keyring
from backend.observability.log import configure_logging
from database.errors import (
    DatabaseBusy,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
)
from tests.cli.conftest import Command
from tests.cli.piped import piped
from tests.support.processes import Outcome, write_documents

NOTHING: dict[str, str] = {}
COMMANDS = tuple(typer.main.get_group(app).commands)


def test_alone_it_shows_its_help(command: Command) -> None:
    outcome = command()
    assert outcome.status == 0
    assert outcome.err == ""
    listed = outcome.out.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if line.strip()] == list(COMMANDS)
    # Each has a sentence that is not cut off.
    assert all(line.endswith(".") and "..." not in line for line in listed if line.strip())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command: Command, name: str) -> None:
    outcome = command(name, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"Usage: strongroom {name}")


def test_the_version_is_shown(command: Command) -> None:
    outcome = command("--version")
    assert outcome.status == 0
    assert outcome.out.startswith("strongroom 0.")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("frobnicate",), "frobnicate"),
        (("keys", "frobnicate"), "strongroom keys --help"),
        (("import",), "FILE.jsonl"),
        (("import", "one", "two"), "two"),
        (("verify", "--frobnicate"), "--frobnicate"),
        (("export", "-", "--json"), "standard output"),
        (("migrate", "--data-dir"), "--data-dir"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    command: Command, arguments: tuple[str, ...], told: str
) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    assert outcome.out == ""
    assert told in outcome.complaint


def test_a_new_key_stands_alone_and_needs_no_configuration(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "production")
    first, second = command("keys", "generate"), command("keys", "generate")
    assert (first.status, first.err, first.out.count("\n")) == (0, "", 1)
    assert len(Keyring.parse(f"{first.out},{second.out}").ids()) == 2


@pytest.mark.parametrize("name", ["export", "verify", "keys", "migrate"])
def test_looking_at_nothing_makes_nothing(command: Command, directory: Path, name: str) -> None:
    arguments = {
        "export": ["export", "out.jsonl"],
        "verify": ["verify"],
        "keys": ["keys", "status"],
        "migrate": ["migrate", "--check"],
    }[name]
    outcome = command(*arguments, "--data-dir", directory)
    assert outcome.status == 1
    assert not directory.exists()
    if name != "migrate":
        assert "strongroom serve" in outcome.complaint
        assert list(directory.parent.iterdir()) == []


def test_an_unexpected_error_is_one_line(
    command: Command,  # noqa: ARG001 - it restores logging
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert guarded(lambda: NOTHING["hunter2"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("strongroom: unexpected KeyError")
    assert "STRONGROOM_LOG_LEVEL=DEBUG" in told
    assert told.count("\n") == 1
    configure_logging("DEBUG", "console")
    assert guarded(lambda: NOTHING["hunter2"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "KeyError: 'hunter2'" not in told


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DatabaseFull("SQLITE_FULL"), "free some space"),
        (DatabaseBusy(), "try again"),
        (DatabaseCorrupt("SQLITE_CORRUPT"), "backup"),
        (DatabaseReadOnly("SQLITE_READONLY"), "belong to the user"),
        (DatabaseUnavailable("SQLITE_IOERR_READ"), "disk"),
        (DatabaseError("something\nelse \x1b[31m"), "something else"),
        (PermissionError(13, "Permission denied", "here"), "here: Permission denied"),
    ],
)
def test_failures_say_what_to_do(
    capsys: pytest.CaptureFixture[str], error: Exception, told: str
) -> None:
    assert guarded(lambda: _raise(error)) == 1
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()


def test_an_interruption_has_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: _raise(KeyboardInterrupt())) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(command: Command, directory: Path) -> None:
    documents = [
        {"name": "x" * 255, "github_owner": "acme", "github_repo": f"r{n}"} for n in range(500)
    ]
    file = write_documents(directory.parent / "in.jsonl", documents)
    assert command("import", file, "--data-dir", directory).status == 0
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb") as output:
        line = ("export", "-", "--data-dir", directory)
        with piped(directory.parent, line, stdout=output) as process:
            output.close()
            assert reader.readline().startswith(b"{")
            reader.close()
            assert process.finish() == Outcome(1, "", "")
