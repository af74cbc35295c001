"""Values that are shown only once: a token or key that could not be written out does not exist
afterwards."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support.processes import (
    PATIENCE,
    STRONGROOM,
    Outcome,
    document,
    environment,
    write_documents,
)

CREATE = ("token", "create", "ci", "--scope", "admin")
OUTPUTS = [">&-", ">/dev/full"]


@pytest.fixture
def installation(command: Command, directory: Path, tmp_path: Path) -> Path:
    """A data directory without a server."""
    documents = write_documents(tmp_path / "documents.jsonl", [document(1)])
    assert command("import", documents, "--data-dir", directory).status == 0
    return directory


def run_with(output: str, *arguments: str | Path, cwd: Path, **variables: str) -> Outcome:
    """Run the command with its standard output as a shell sets it up."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {output}', STRONGROOM, *arguments],  # noqa: S607
        cwd=cwd,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_token_that_could_not_be_shown_is_not_made(
    command: Command, installation: Path, output: str, options: tuple[str, ...]
) -> None:
    outcome = run_with(
        output, *CREATE, *options, "--data-dir", installation, cwd=installation.parent
    )
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
    outcome = run_with(output, "keys", "generate", cwd=tmp_path)
    assert outcome.status == 1
    assert "standard output" in outcome.complaint


@pytest.mark.parametrize("arguments", [("token", "list"), ("audit", "export", "-"), ("-h",)])
def test_a_full_output_is_one_line_for_other_commands_too(
    installation: Path, arguments: tuple[str, ...]
) -> None:
    place = () if arguments == ("-h",) else ("--data-dir", installation)
    # As in containers.
    outcome = run_with(
        ">/dev/full", *arguments, *place, cwd=installation.parent, PYTHONUNBUFFERED="1"
    )
    assert outcome.status == 1
    assert outcome.complaint.startswith("standard output can't be written (No space left")
