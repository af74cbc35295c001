"""Commands that run in the tests' process, where a separate process would show nothing more."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from backend.cli import main
from tests.support.processes import Outcome

Command = Callable[..., Outcome]


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
