"""Loading project documents: whole lines, once, with the reason for each line that is left out."""

import json
import os
import resource
import signal
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.cli import import_lines
from backend.runtime import DataDirectory
from backend.schemas.projects import ProjectFields
from database.sqlite.process_lock import ProcessLock
from tests.cli.conftest import Command
from tests.cli.piped import piped
from tests.support.forked import run_script
from tests.support.processes import (
    REAL_DOCUMENTS,
    Serving,
    document,
    read_documents,
    run,
    write_documents,
)


def _counts(report: dict[str, Any]) -> tuple[int, int, int, int]:
    return report["created"], report["updated"], report["unchanged"], report["rejected"]


def _exported(command: Command, directory: Path) -> dict[str, dict[str, Any]]:
    """The stored projects, by repository."""
    outcome = command("export", "-", "--reveal-secrets", "--data-dir", directory)
    assert outcome.status == 0
    documents = [json.loads(line) for line in outcome.out.split("\n")[:-1]]
    return {one["github_repo"]: one for one in documents}


@pytest.mark.skipif(not REAL_DOCUMENTS.exists(), reason="the real documents are not here")
def test_the_real_documents_are_kept_byte_for_byte(command: Command, directory: Path) -> None:
    lines = read_documents(REAL_DOCUMENTS)
    # Where a repository occurs twice, the later line wins.
    expected = {(one["github_owner"], one["github_repo"]): one for one in lines}
    first = command("import", REAL_DOCUMENTS, "--json", "--data-dir", directory)
    assert first.status == 0
    again = len(lines) - len(expected)
    assert _counts(first.json) == (len(expected), again, 0, 0)
    assert first.json["unknown_fields"] == {"sources": len(lines)}
    second = command("import", REAL_DOCUMENTS, "--json", "--data-dir", directory)
    assert _counts(second.json) == (0, 0, len(lines), 0)
    answers: list[dict[str, bytes]] = []
    for _ in range(2):
        with Serving(directory) as serving:
            with serving.client() as client:
                answers.append(_everything(client))
            assert serving.end() == 0
    assert answers[0] == answers[1]
    projects = [json.loads(answers[0][path]) for path in answers[0] if path.endswith("/full")]
    assert len(projects) == len(expected)
    for full in projects:
        project, settings = full["project"], full["settings"]
        source = expected[project["github_owner"], project["github_repo"]]
        assert {name: project[name] for name in source.keys() & project.keys()} == {
            name: source[name] for name in source.keys() & project.keys()
        }
        assert {name: settings[name] for name in source["settings"]} == source["settings"]


def _everything(client: httpx.Client) -> dict[str, bytes]:
    """All stored data, by the path where it was read."""
    answers: dict[str, bytes] = {}

    def get(path: str) -> Any:
        answers[path] = client.get(path).raise_for_status().content
        return json.loads(answers[path])

    path = "/api/projects?limit=40"
    cursor: str | None = ""
    while cursor is not None:
        page = get(f"{path}&cursor={cursor}" if cursor else path)
        for project in page["projects"]:
            get(f"/api/projects/{project['id']}/full")
        cursor = page["next_cursor"]
    return answers


def test_given_fields_are_changed_and_others_are_left(command: Command, directory: Path) -> None:
    file = directory.parent / "in.jsonl"
    both = [document(1), document(2)]
    assert command("import", write_documents(file, both), "--data-dir", directory).status == 0
    changes = {
        "github_owner": "ACME",
        "github_repo": "Project-1",
        "name": "Renamed",
        "settings": {"repository_rules": "New rules."},
        "secrets": {"OTHER": "changed", "NEW": "new"},
        "secret_keys": ["API_KEY", "UNKNOWN"],
        "id": 99,
        "version": 7,
    }
    outcome = command(
        "import", write_documents(file, [changes, document(2)]), "--json", "--data-dir", directory
    )
    assert _counts(outcome.json) == (0, 1, 1, 0)
    assert outcome.json["secret_keys_ignored"] == 2
    expected = document(1) | {
        "github_owner": "ACME",
        "github_repo": "Project-1",
        "name": "Renamed",
        "settings": document(1)["settings"] | {"repository_rules": "New rules."},
        "secrets": {"API_KEY": "sesame-1", "NEW": "new", "OTHER": "changed"},
    }
    assert _exported(command, directory) == {"Project-1": expected, "project-2": document(2)}
    assert _counts(command("import", file, "--json", "--data-dir", directory).json) == (0, 0, 2, 0)


def test_defaults_fill_what_a_new_document_leaves_out(command: Command, directory: Path) -> None:
    small = {"name": "Small", "github_owner": "acme", "github_repo": "small"}
    file = write_documents(directory.parent / "in.jsonl", [small])
    assert command("import", file, "--data-dir", directory).status == 0
    stored = _exported(command, directory)["small"]
    assert stored["status"] == "active"
    assert stored["settings"]["branch_name"] == "main"
    assert stored["secrets"] == {}
    assert set(stored) == {*ProjectFields.model_fields, "settings", "secrets"}


BAD_LINES: list[tuple[Any, str]] = [
    ("hunter2", "it is not JSON (column 1)"),
    ('["hunter2"]', "it is not a JSON object"),
    ('{"name": "hunter2", "name": "hunter2"}', "the same key twice"),
    ('{"name": NaN}', "NaN and infinities"),
    ('{"name": "\\ud800hunter2"}', "unpaired surrogate"),
    ("[" * 100_000, "nested too deeply"),
    ('{"id": ' + "9" * 5000 + "}", "a number is too long"),
    ({"github_owner": "hunter2", "github_repo": "hunter2"}, "/name: Field required"),
    (document(9, name="hunter2\0"), "/name: "),
    (document(9, status="deleted"), "/status: "),
    (document(9, auto_merge_enabled="hunter2"), "/auto_merge_enabled: "),
    (document(9, webhook_url="https://user:hunter2@example.com"), "/webhook_url: "),
    (document(9, settings={"branch_name": "hunter2..hunter2"}), "/settings/branch_name: "),
    (document(9, settings={"unknown": "hunter2"}), "/settings/unknown: "),
    (document(9, secrets={"KEY": ""}), "/secrets/KEY: "),
    (document(9, secrets={"hunter2 as a key": "hunter2"}), "/secrets/*: "),
    (document(9, secrets=["hunter2"]), "/secrets: "),
    (document(9, secrets={"KEY": "hunter2" * 20_000}), "/secrets/KEY: "),
    (document(9, name=2**80, github_owner=1, github_repo="", status="hunter2"), "and 1 more"),
]


def test_bad_lines_are_left_out_with_a_reason_and_without_a_value(
    command: Command, directory: Path
) -> None:
    lines = [one for bad, _ in BAD_LINES for one in (bad, "")]
    file = write_documents(directory.parent / "in.jsonl", [document(1), *lines, document(2)])
    with file.open("ab") as stream:
        stream.write(b'{"name": "\xff hunter2"}\n')
    reasons = [*(reason for _, reason in BAD_LINES), "it is not UTF-8 (byte 10)"]
    numbers = [*range(2, 2 + 2 * len(BAD_LINES), 2), 2 * len(BAD_LINES) + 3]
    outcome = command("import", file, "--json", "--data-dir", directory)
    assert outcome.status == 1
    assert _counts(outcome.json) == (2, 0, 0, len(reasons))
    assert f"{len(reasons)} lines rejected" in outcome.complaint
    for told, number, reason in zip(outcome.json["rejections"], numbers, reasons, strict=True):
        assert told["line"] == number
        assert reason in told["reason"]
    assert "hunter2" not in outcome.out + outcome.err
    plain = command("import", file, "--data-dir", directory)
    assert plain.status == 1
    assert f"line 2: {BAD_LINES[0][1]}\n" in plain.out
    assert f"0 created, 0 updated, 2 unchanged, {len(reasons)} rejected\n" in plain.out
    assert "hunter2" not in plain.out + plain.err
    assert set(_exported(command, directory)) == {"project-1", "project-2"}


def test_a_line_is_stored_whole_or_not_at_all(command: Command, directory: Path) -> None:
    file = directory.parent / "in.jsonl"
    assert (
        command("import", write_documents(file, [document(1)]), "--data-dir", directory).status == 0
    )
    # The project's key can't be read, so only the secret in this change fails.
    with closing(_connection(directory)) as connection, connection:
        connection.execute("UPDATE project_keys SET wrapped = 'damaged'")
    changed = document(1, name="Changed", settings={"branch_name": "other"})
    changed["secrets"]["NEW"] = "new"
    outcome = command(
        "import", write_documents(file, [changed, document(2)]), "--json", "--data-dir", directory
    )
    assert outcome.status == 1
    assert _counts(outcome.json) == (1, 0, 0, 1)
    assert "can't be decrypted" in outcome.json["rejections"][0]["reason"]
    with closing(_connection(directory)) as connection:
        names = connection.execute(
            "SELECT p.name, s.branch_name FROM projects AS p"
            " JOIN project_settings AS s ON s.project_id = p.id ORDER BY p.id"
        ).fetchall()
    assert names == [("Project 1", "main"), ("Project 2", "main")]


def _connection(directory: Path) -> Any:
    import sqlite3

    return sqlite3.connect(directory / "strongroom.db")


def test_lines_of_one_project_are_taken_together(command: Command, directory: Path) -> None:
    first = document(1, settings={"planning_statement": "first", "branch_name": "first"})
    first["secrets"] = {"A": "first", "B": "first"}
    second = {
        "name": "Second",
        "github_owner": "Acme",
        "github_repo": "PROJECT-1",
        "settings": {"branch_name": "second"},
        "secrets": {"B": "second"},
    }
    lines = [first, document(2), '{"github_owner": "acme", "github_repo": "project-1"}', second]
    file = write_documents(directory.parent / "in.jsonl", lines)
    outcome = command("import", file, "--json", "--data-dir", directory)
    assert _counts(outcome.json) == (2, 1, 0, 1)
    assert outcome.json["rejections"][0]["line"] == 3
    stored = _exported(command, directory)["PROJECT-1"]
    assert (stored["name"], stored["webhook_url"]) == ("Second", first["webhook_url"])
    assert stored["settings"]["planning_statement"] == "first"
    assert stored["settings"]["branch_name"] == "second"
    assert stored["secrets"] == {"A": "first", "B": "second"}
    again = command("import", file, "--json", "--data-dir", directory)
    assert _counts(again.json) == (0, 0, 3, 1)


def test_a_pipe_is_read_line_after_line(directory: Path) -> None:
    text = "".join(
        ["\ufeff", json.dumps(document(1)), "\r\n\n  \r\n", json.dumps(document(2, extra="\u2028"))]
    )
    outcome = run("import", "-", "--data-dir", directory, cwd=directory.parent, stdin=text.encode())
    assert outcome.status == 0
    assert "the unknown field extra was ignored (1 times)" in outcome.out
    assert outcome.out.endswith("2 created, 0 updated, 0 unchanged, 0 rejected\n")
    assert outcome.err == ""


def test_a_line_that_is_too_long_is_skipped_in_parts(
    command: Command, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_lines, "MAX_LINE_BYTES", 5000)
    long = document(1, name="hunter2" * 3000)
    file = write_documents(directory.parent / "in.jsonl", [long, document(2), long])
    outcome = command("import", file, "--json", "--data-dir", directory)
    assert _counts(outcome.json) == (1, 0, 0, 2)
    assert [one["line"] for one in outcome.json["rejections"]] == [1, 3]
    assert "longer than 5000 bytes" in outcome.json["rejections"][0]["reason"]


def test_names_of_unknown_fields_can_not_fill_the_report(command: Command, directory: Path) -> None:
    names = {f"field {n}" + "\x1b[31m" * 50: 1 for n in range(200)}
    file = write_documents(directory.parent / "in.jsonl", [document(1, **names)])
    outcome = command("import", file, "--json", "--data-dir", directory)
    assert outcome.status == 0
    assert len(outcome.json["unknown_fields"]) == 51
    assert outcome.json["unknown_fields"]["(others)"] == 150
    assert "\x1b" not in outcome.out


def test_more_secrets_than_a_request_may_have_are_kept(command: Command, directory: Path) -> None:
    many = {f"KEY_{n:05}": f"value {n}" for n in range(1201)}
    file = write_documents(directory.parent / "in.jsonl", [document(1, secrets=many)])
    assert command("import", file, "--data-dir", directory).status == 0
    assert _exported(command, directory)["project-1"]["secrets"] == many


def test_a_running_server_is_told_with_the_calls_that_do_the_same(
    command: Command, directory: Path
) -> None:
    file = write_documents(directory.parent / "in.jsonl", [document(1)])
    assert command("import", file, "--data-dir", directory).status == 0
    lock = ProcessLock(DataDirectory(directory).database)
    lock.acquire()
    try:
        told = command("import", file, "--data-dir", directory)
        assert told.status == 1
        assert f"process {os.getpid()} " in told.complaint
        assert "POST /api/projects" in told.complaint
        assert "PUT /api/projects/{id}" in told.complaint
    finally:
        lock.release()


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_can_not_be_read_is_told(command: Command, directory: Path, name: str) -> None:
    outcome = command("import", name, "--data-dir", directory)
    assert outcome.status == 1
    assert f"{name} can't be read" in outcome.complaint
    assert not directory.exists()


def test_an_import_makes_no_token_so_that_the_first_start_tells_of_it(
    command: Command, directory: Path
) -> None:
    file = write_documents(directory.parent / "in.jsonl", [document(1)])
    assert command("import", file, "--data-dir", directory).status == 0
    assert not (directory / "admin.token").exists()
    with Serving(directory) as serving:
        assert "curl" in serving.wait_for("curl ")
        assert serving.end() == 0


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.long_form),
    ],
)
def test_an_import_that_is_ended_leaves_whole_projects(
    command: Command, directory: Path, number: signal.Signals
) -> None:
    lines = [json.dumps(document(n)) + "\n" for n in range(600)]
    with piped(directory.parent, ("import", "-", "--data-dir", directory)) as process:
        # A pipe holds far less than all lines: once they are written, most of them were read.
        process.stdin.write("".join(lines).encode())
        process.process.send_signal(number)
        ended = process.finish()
    expected = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
    assert ended.status == expected[number]
    assert "Traceback" not in ended.err
    assert command("verify", "--data-dir", directory).status == 0
    kept = list(_exported(command, directory).values())
    assert kept
    assert kept == [document(n) for n in range(len(kept))]
    file = write_documents(directory.parent / "in.jsonl", [line.rstrip("\n") for line in lines])
    again = command("import", file, "--json", "--data-dir", directory)
    assert _counts(again.json) == (len(lines) - len(kept), 0, len(kept), 0)


def _with_small_files(most: int, arguments: Sequence[str]) -> int:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    return run_script(arguments)


def test_a_file_that_can_not_grow_ends_the_import_and_it_goes_on_later(
    command: Command, directory: Path
) -> None:
    documents = [document(n) for n in range(700)]
    file = write_documents(directory.parent / "in.jsonl", documents)
    # Enough for a part of the documents.
    function = partial(_with_small_files, 2_500_000)
    with piped(directory.parent, ("import", file, "--data-dir", directory), function) as process:
        ended = process.finish()
    assert (ended.status, ended.out) == (1, "")
    told = ended.err.splitlines()[-1]
    assert "check the disk" in told
    stored = len(_exported(command, directory))
    assert f"; {stored} lines are stored; import the file again to go on" in told
    assert stored % import_lines.CHUNK_LINES == 0
    assert 0 < stored < len(documents)
    again = command("import", file, "--json", "--data-dir", directory)
    assert _counts(again.json) == (len(documents) - stored, 0, stored, 0)
