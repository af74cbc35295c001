"""Commands that run in the tests' process, where a separate process would show nothing more."""

import asyncio
import logging
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from backend.cli import main
from backend.runtime import find_keyring, inspection
from config.settings import Settings
from tests.support.earlier import make_earlier
from tests.support.processes import Outcome, write_documents

# Typer reads this when it makes the command, which is once for all tests of a process.
os.environ["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"

Command = Callable[..., Outcome]
Install = Callable[[Sequence[Any]], Path]
ChangeEarlier = Callable[..., None]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The test's data directory, which does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def command(
    tmp_path: Path,
    no_settings: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Command]:
    """Runs a command line to its end in this process, in the test's directory."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    handled = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    mask = os.umask(0o022)

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        finally:
            os.umask(0o022)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    yield run
    os.umask(mask)
    assert {number: signal.getsignal(number) for number in handled} == handled
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").propagate = True
    structlog.configure(**config)


@pytest.fixture(scope="module")
def first_installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `install` keeps a copy of its first data directory."""
    return tmp_path_factory.mktemp("first") / "data"


@pytest.fixture
def install(command: Command, directory: Path, tmp_path: Path, first_installation: Path) -> Install:
    """Makes the test's data directory by an import of `in.jsonl`, which it writes. All tests of a
    module pass the same documents, so that later ones get a copy: an import takes longer."""

    def make(documents: Sequence[Any]) -> Path:
        file = write_documents(tmp_path / "in.jsonl", documents)
        if first_installation.exists():
            shutil.copytree(first_installation, directory)
        else:
            assert command("import", file, "--data-dir", directory).status == 0
            shutil.copytree(directory, first_installation)
        return directory

    return make


@pytest.fixture
def change_earlier(command: Command) -> ChangeEarlier:
    """Runs statements on an installation as if an earlier version had done so, before the update
    that guards all rows."""

    def change(directory: Path, *statements: tuple[str, Sequence[str | int]]) -> None:
        settings = Settings(_env_file=None, data_dir=directory)

        async def chain_key() -> bytes:
            async with inspection(settings, find_keyring(settings)) as opened:
                return opened.service.kit.keys.audit_chain

        path = directory / "strongroom.db"
        make_earlier(path, asyncio.run(chain_key()))
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement, values in statements:
                connection.execute(statement, values)
        assert command("migrate", "--data-dir", directory).status == 0

    return change
