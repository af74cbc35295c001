"""Runs the tools that are installed for the checks of clients."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent.parent / "clients" / "bin"
"""The programs of the environment for generated clients in Python."""


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What a program writes to standard output. Fails unless it ends with 0."""
    return run_with_errors(*command, cwd=cwd, env=env)[0]


def run_with_errors(
    *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """What a program writes to standard output and standard error."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@dataclass(frozen=True)
class Node:
    """Node, and the programs of its packages."""

    path: str

    def run(
        self, program: str, *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None
    ) -> str:
        """What a program of a package writes. Fails unless it ends with 0."""
        return run(HERE / "node_modules" / ".bin" / program, *arguments, cwd=cwd, env=env)
