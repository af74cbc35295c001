"""Writing projects to a file: complete, private where necessary, and never over another file."""

import json
import os
import stat
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from backend.cli.exporting import encoded
from tests.cli.conftest import Command, Install
from tests.support.processes import Serving, document, read_documents

DOCUMENTS = [document(n, status=("active", "inactive", "archived")[n % 3]) for n in range(120)]


@pytest.fixture
def installation(install: Install, tmp_path: Path) -> Path:
    """A data directory with `DOCUMENTS` in it."""
    directory = install(DOCUMENTS)
    (tmp_path / "in.jsonl").unlink()
    return directory


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_exported_makes_an_equal_installation(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out.jsonl"
    outcome = command("export", file, "--reveal-secrets", "--json", "--data-dir", installation)
    assert outcome.status == 0
    assert outcome.json == {
        "exported": 120,
        "secrets": 240,
        "unreadable_secrets": 0,
        "unreadable": [],
    }
    assert _mode(file) == 0o600
    assert read_documents(file) == DOCUMENTS
    other = tmp_path / "other"
    assert command("import", file, "--data-dir", other).status == 0
    again = command("export", "-", "--reveal-secrets", "--data-dir", other)
    assert again.out.encode() == file.read_bytes()
    assert again.err == ""


def test_values_are_only_written_when_they_are_asked_for(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out.jsonl"
    outcome = command("export", file, "--data-dir", installation)
    assert outcome.out == f"120 projects exported to {file}\n"
    assert _mode(file) == 0o644
    assert b"sesame" not in file.read_bytes()
    written = read_documents(file)
    assert {tuple(one["secret_keys"]) for one in written} == {("API_KEY", "OTHER")}
    assert not any("secrets" in one for one in written)


def revealed(directory: Path) -> list[tuple[str, str, int]]:
    """The audit's entries about revealed secrets: the actor, the place and the project."""
    with closing(connect(directory / "strongroom.db")) as connection:
        return connection.execute(
            "SELECT actor, target, project_id FROM audit_entries WHERE action = 'secret.revealed'"
            " ORDER BY id"
        ).fetchall()


def test_every_revealed_value_is_recorded_before_it_goes_out(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    assert command("export", tmp_path / "names.jsonl", "--data-dir", installation).status == 0
    assert revealed(installation) == []
    file = tmp_path / "out.jsonl"
    assert command("export", file, "--reveal-secrets", "--data-dir", installation).status == 0
    rows = revealed(installation)
    assert len(rows) == 240
    assert rows[:2] == [
        ("system", "projects/1/secrets/API_KEY", 1),
        ("system", "projects/1/secrets/OTHER", 1),
    ]
    assert command("verify", "--data-dir", installation).status == 0


def test_a_file_that_is_refused_reveals_nothing(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text("precious")
    assert command("export", file, "--reveal-secrets", "--data-dir", installation).status == 1
    assert revealed(installation) == []


def test_an_export_with_values_makes_no_token(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out.jsonl"
    assert command("export", file, "--reveal-secrets", "--data-dir", installation).status == 0
    assert not (installation / "admin.token").exists()


def test_names_alone_are_exported_without_a_key(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    (installation / "master.key").unlink()
    assert command("export", tmp_path / "out.jsonl", "--data-dir", installation).status == 0
    refused = command(
        "export", tmp_path / "values.jsonl", "--reveal-secrets", "--data-dir", installation
    )
    assert refused.status == 1
    assert "without a master key" in refused.complaint
    assert [file.name for file in tmp_path.glob("*.jsonl")] == ["out.jsonl"]


def test_a_forged_configuration_is_not_exported_where_a_key_can_show_it(
    command: Command, installation: Path
) -> None:
    with closing(connect(installation / "strongroom.db")) as connection, connection:
        connection.execute("UPDATE project_settings SET setup_commands = 'forged' WHERE id = 1")
    refused = command("export", "-", "--data-dir", installation)
    assert (refused.status, refused.out) == (1, "")
    assert refused.complaint.startswith("the configuration of project 1 was changed in the data")
    (installation / "master.key").unlink()
    assert command("export", "-", "--data-dir", installation).status == 0


def test_the_complaint_names_a_forged_project(command: Command, installation: Path) -> None:
    with closing(connect(installation / "strongroom.db")) as connection, connection:
        connection.execute("UPDATE projects SET webhook_url = 'https://evil/' WHERE id = 2")
    refused = command("export", "-", "--data-dir", installation)
    assert (refused.status, refused.out) == (1, "")
    assert refused.complaint.startswith("the project with the id 2 was changed in the data")


def test_deleted_projects_are_left_out(command: Command, installation: Path) -> None:
    with closing(connect(installation / "strongroom.db")) as connection, connection:
        connection.execute("UPDATE projects SET status = 'deleted' WHERE github_repo < 'project-5'")
    outcome = command("export", "-", "--data-dir", installation)
    left = [json.loads(line)["github_repo"] for line in outcome.out.split("\n")[:-1]]
    expected = [one["github_repo"] for one in DOCUMENTS if one["github_repo"] >= "project-5"]
    assert left == expected


def test_an_existing_file_is_replaced_only_by_force(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text("precious")
    refused = command("export", file, "--data-dir", installation)
    assert refused.status == 1
    assert "--force" in refused.complaint
    assert file.read_text() == "precious"
    forced = command("export", file, "--force", "--reveal-secrets", "--data-dir", installation)
    assert forced.status == 0
    assert read_documents(file) == DOCUMENTS
    assert _mode(file) == 0o600
    assert {one.name for one in tmp_path.iterdir()} == {"data", "out.jsonl"}


@pytest.fixture
def no_files(tmp_path: Path) -> dict[str, Path]:
    """Paths that are not ordinary files, by their kind."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    return {name: tmp_path / name for name in ("link", "directory", "fifo")}


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_what_is_no_file_is_never_replaced(
    command: Command, installation: Path, no_files: dict[str, Path], kind: str
) -> None:
    outcome = command("export", no_files[kind], "--force", "--data-dir", installation)
    assert outcome.status == 1
    assert "not an ordinary file" in outcome.complaint
    assert not (installation.parent / "target").exists()


def test_a_place_that_can_not_be_written_is_told(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "missing" / "out", tmp_path / "file" / "out"):
        outcome = command("export", target, "--data-dir", installation)
        assert outcome.status == 1
        assert "can't be written" in outcome.complaint


def test_an_unreadable_value_is_reported_and_the_rest_is_written(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    with closing(connect(installation / "strongroom.db")) as connection, connection:
        connection.execute(
            "UPDATE project_secrets SET ciphertext = replace(ciphertext, 'sr1:', 'sr9:')"
            " WHERE id IN (3, 4, 9)"
        )
    file = tmp_path / "out.jsonl"
    outcome = command("export", file, "--reveal-secrets", "--json", "--data-dir", installation)
    assert outcome.status == 1
    assert outcome.json["unreadable_secrets"] == 3
    assert outcome.json["unreadable"][0] == "acme/project-1 API_KEY"
    assert "3 secrets can't be decrypted" in outcome.complaint
    written = read_documents(file)
    assert written[1]["secrets"] == {}
    assert written[1]["secret_keys"] == ["API_KEY", "OTHER"]
    assert written[4]["secrets"] == {"OTHER": "pass\u2029phrase"}
    assert written[5] == DOCUMENTS[5]


def test_a_line_is_a_line_for_every_reader() -> None:
    text = "".join(map(chr, range(1, 0x2100)))
    line = encoded({"name": text}).decode()
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {"name": text}


def test_looking_works_beside_a_running_server(
    command: Command, directory: Path, tmp_path: Path
) -> None:
    with Serving(directory) as serving:
        with serving.client() as client:
            body = {name: DOCUMENTS[1][name] for name in DOCUMENTS[1] if name != "secrets"}
            body["secrets"] = [{"key": "API_KEY", "value": "sesame"}]
            client.post("/api/projects", json=body).raise_for_status()
            file = tmp_path / "out.jsonl"
            for arguments in (
                ("export", str(file)),
                ("verify",),
                ("migrate", "--check"),
                ("keys", "status"),
            ):
                outcome = command(*arguments, "--data-dir", directory)
                assert (outcome.status, outcome.err) == (0, "")
            del body["secrets"]
            assert read_documents(file) == [{**body, "secret_keys": ["API_KEY"]}]
            values = tmp_path / "values.jsonl"
            refused = command("export", values, "--reveal-secrets", "--data-dir", directory)
            assert refused.status == 1
            assert f"process {serving.process.pid} " in refused.complaint
            assert "GET /api/projects/{id}/secrets/{key}/value" in refused.complaint
            assert not values.exists()
            refused = command("migrate", "--data-dir", directory)
            assert refused.status == 1
            assert f"process {serving.process.pid} " in refused.complaint
            assert "GET /ready" in refused.complaint
            # The server is not affected.
            client.delete("/api/projects/1").raise_for_status()
        assert serving.end() == 0
