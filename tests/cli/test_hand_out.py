"""Values that are shown only once: a token or key that could not be written out does not exist
afterwards."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Install
from tests.cli.standard_files import run_with
from tests.support.processes import PATIENCE, STRONGROOM, document, environment

CREATE = ("token", "create", "ci", "--scope", "admin")
OUTPUTS = ["closed stdout", "full stdout"]


@pytest.fixture
def installation(install: Install) -> Path:
    """A data directory without a server."""
    return install([document(1)])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_token_that_could_not_be_shown_is_not_made(
    command: Command, installation: Path, output: str, options: tuple[str, ...]
) -> None:
    line = (*CREATE, *options, "--data-dir", str(installation))
    outcome = run_with(output, line, installation.parent, environment())
    assert outcome.status == 1
    assert "standard output" in outcome.complaint
    listed = command("token", "list", "--revoked", "--json", "--data-dir", installation)
    assert "ci" not in [one["name"] for one in listed.json["tokens"]]
    exported = command("audit", "export", "-", "--data-dir", installation)
    targets = [json.loads(line)["target"] for line in exported.out.splitlines()]
    assert "tokens/2" not in targets
    # The next token can be written out.
    made = command(*CREATE, "--json", "--data-dir", installation)
    assert made.json["name"] == "ci"


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_key_that_could_not_be_shown_is_reported(tmp_path: Path, output: str) -> None:
    outcome = run_with(output, ("keys", "generate"), tmp_path, environment())
    assert outcome.status == 1
    assert "standard output" in outcome.complaint


@pytest.mark.parametrize("arguments", [("token", "list"), ("audit", "export", "-"), ("-h",)])
def test_a_full_output_is_one_line_for_other_commands_too(
    installation: Path, arguments: tuple[str, ...]
) -> None:
    place = () if arguments == ("-h",) else ("--data-dir", str(installation))
    # As in containers.
    outcome = run_with(
        "unbuffered full stdout", (*arguments, *place), installation.parent, environment()
    )
    assert outcome.status == 1
    assert outcome.complaint.startswith("standard output can't be written (No space left")


def test_a_shell_can_close_the_output_or_send_it_to_a_full_disk(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" keys generate >&-; exec "$0" -h >/dev/full', STRONGROOM],  # noqa: S607
        cwd=tmp_path,
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    closed, full = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert closed.startswith("strongroom: standard output can't be written")
    assert full.startswith("strongroom: standard output can't be written (No space left")
