"""What export, import and backup do with the versions of configurations and secrets."""

import asyncio
import json
from pathlib import Path

import pytest

from backend.runtime import Runtime
from config.settings import Settings
from tests.cli.conftest import Command
from tests.support.processes import read_documents
from tests.versions.filled import ALL, fill, values


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A data directory with three versions of two secrets, one of them deleted, and of a
    configuration."""
    directory = tmp_path / "filled"

    async def make() -> None:
        runtime = await Runtime.start(Settings(_env_file=None, data_dir=directory))
        await fill(runtime.service)
        await runtime.stop()

    asyncio.run(make())
    return directory


def listed(directory: Path) -> tuple[list[int], list[int]]:
    """The versions of the secret A and of the configuration of the first project."""

    async def read() -> tuple[list[int], list[int]]:
        runtime = await Runtime.start(Settings(_env_file=None, data_dir=directory))
        service = runtime.service
        secret = await service.secret_history.page(1, "A", limit=50, cursor=None)
        settings = await service.configuration_history.page(1, limit=50, cursor=None)
        await runtime.stop()
        return ([v.version for v in secret.versions], [v.version for v in settings.versions])

    return asyncio.run(read())


def test_a_backup_has_all_versions(command: Command, installation: Path, tmp_path: Path) -> None:
    backup, restored = tmp_path / "backup.db", tmp_path / "restored"
    assert command("backup", backup, "--data-dir", installation).status == 0
    keys = (installation / "master.key").read_text("ascii")
    restored.mkdir(mode=0o700)
    (restored / "master.key").write_text(keys, "ascii")
    (restored / "master.key").chmod(0o600)
    assert command("restore", backup, "--data-dir", restored).status == 0
    assert listed(restored) == listed(installation) == ([3, 2, 1], [3, 2, 1])

    async def read() -> list[str]:
        runtime = await Runtime.start(Settings(_env_file=None, data_dir=restored))
        found = await values(runtime.service)
        await runtime.stop()
        return found

    assert asyncio.run(read()) == ALL


def test_an_export_has_the_present_versions_and_an_import_makes_new_ones(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    file, other = tmp_path / "out.jsonl", tmp_path / "other"
    outcome = command("export", file, "--reveal-secrets", "--data-dir", installation)
    assert outcome.status == 0, outcome.err
    [document] = read_documents(file)
    assert document["secrets"] == {"A": "3 of A"}
    assert document["settings"]["setup_commands"] == "configuration 3"
    assert all(f"{number} of" not in file.read_text("utf-8") for number in (1, 2))
    assert command("import", file, "--data-dir", other).status == 0
    assert listed(other) == ([1], [1])
    # What does not differ gets no version.
    assert command("import", file, "--data-dir", other).status == 0
    assert listed(other) == ([1], [1])
    document["secrets"]["A"] = "another value"
    document["settings"]["setup_commands"] = "other"
    file.write_text(json.dumps(document), "utf-8")
    assert command("import", file, "--data-dir", other).status == 0
    assert listed(other) == ([2, 1], [2, 1])
