"""What `verify`, `migrate --check` and `keys status` report about a whole or a damaged database."""

import asyncio
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from backend.crypto.keyring import generate_master_key
from backend.runtime import Runtime
from backend.schemas.webhooks import WebhookCreate
from config.loading import load_settings
from database.migrator import load_migrations
from database.sqlite.integrity import has_wal_reset_defect
from database.text_keys import text_key
from tests.cli.conftest import ChangeEarlier, Command, Install
from tests.support.processes import document

KEY = generate_master_key("first")
FILE = "strongroom.db"


@pytest.fixture
def installation(install: Install, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with some projects under the key `first`."""
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS", KEY)
    return install([document(n) for n in range(20)])


def _change(installation: Path, statement: str) -> None:
    with closing(connect(installation / FILE)) as connection:
        connection.execute(statement)
        connection.commit()


def test_all_is_well(command: Command, installation: Path) -> None:
    outcome = command("verify", "--json", "--data-dir", installation)
    assert outcome.status == 0
    assert outcome.err == ""
    report = outcome.json
    assert report["ok"] is True
    assert [(check["name"], check["checked"]) for check in report["checks"]] == [
        ("log", None),
        ("file", None),
        ("references", None),
        ("schema", None),
        ("keys", 1),
        ("project keys", 20),
        ("secrets", 40),
        ("stored answers", 0),
        ("repositories", None),
        ("search", 0),
        ("audit", 80),
        ("guarded rows", 80),
    ]
    assert all(check["ok"] for check in report["checks"])
    plain = command("verify", "--data-dir", installation).out
    assert "secrets\tok (40 rows)\n" in plain
    assert f"SQLite {report['sqlite_version']}" in plain
    assert plain.endswith("\nall is well: 12 checks, no problems found\n")


def test_projects_of_one_repository_are_named_and_nothing_is_wrong(
    command: Command, installation: Path, change_earlier: ChangeEarlier
) -> None:
    statement = (
        "UPDATE projects SET github_repo = ?, repo_key = ?, twin = ?,"
        " search_text = name_key || char(10) || owner_key || '/' || ? WHERE id = ?"
    )
    twins = [(1, 0, "café"), (2, 2, "cafe\u0301"), (3, 3, "CAFÉ")]
    change_earlier(
        installation,
        *(
            (statement, (repo, text_key(repo), twin, text_key(repo), id))
            for id, twin, repo in twins
        ),
    )
    outcome = command("verify", "--json", "--data-dir", installation)
    assert outcome.status == 0
    (check,) = [check for check in outcome.json["checks"] if check["name"] == "repositories"]
    assert check["ok"]
    assert "projects 1 and 2, 1 and 3 have the same repository" in check["note"]
    plain = command("verify", "--data-dir", installation).out
    assert f"repositories\tok, but {check['note']}\n" in plain


def test_nothing_is_changed_by_looking(command: Command, installation: Path) -> None:
    file = installation / FILE
    before = file.read_bytes(), file.stat().st_mtime_ns
    for arguments in (("verify",), ("keys", "status"), ("migrate", "--check"), ("export", "-")):
        assert command(*arguments, "--data-dir", installation).status == 0
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def _broken_header(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.write(b"\xff" * 16)


def _broken_page(file: Path) -> None:
    """Flip bits in the middle of the file, in the page of a table or an index."""
    with file.open("r+b") as stream:
        for page in range(4, file.stat().st_size // 4096):
            stream.seek(page * 4096)
            head = stream.read(8)
            stream.seek(page * 4096)
            stream.write(bytes(byte ^ 0x5A for byte in head))


def _truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 8192 * 4096)


@pytest.mark.parametrize("damage", [_broken_header, _broken_page, _truncated])
def test_a_damaged_file_is_told(
    command: Command, installation: Path, damage: Callable[[Path], None]
) -> None:
    damage(installation / FILE)
    outcome = command("verify", "--json", "--data-dir", installation)
    assert outcome.status == 1
    assert outcome.complaint.startswith("file: ")
    assert "restore a backup" in outcome.complaint
    assert outcome.json["ok"] is False
    assert outcome.json["checks"][1]["ok"] is False
    assert len(outcome.json["checks"]) == 4


DAMAGES = {
    "UPDATE project_secrets SET ciphertext ="
    " substr(ciphertext, 1, 40) || CASE substr(ciphertext, 41, 1) WHEN 'A' THEN 'B' ELSE 'A' END"
    " || substr(ciphertext, 42) WHERE id = 7": (
        "secrets",
        "1 of 40 can't be decrypted, starting with secret API_KEY of project 4",
    ),
    "UPDATE project_secrets SET version = version + 1 WHERE id > 38": ("secrets", "2 of 40"),
    "UPDATE project_secrets SET key_name = 'OTHER_KEY' WHERE id = 1": ("secrets", "OTHER_KEY"),
    "UPDATE project_keys SET wrapped = (SELECT wrapped FROM project_keys WHERE id = 1)": (
        "project keys",
        "19 of 20 can't be decrypted, starting with key 2 of project 2",
    ),
    "UPDATE installation SET wrapped_key = 'nonsense'": ("keys", "installation's own key"),
    "UPDATE master_keys SET canary = 'nonsense'": ("keys", "master key first is not the key"),
    "UPDATE audit_entries SET actor = 'another' WHERE id = 17": ("audit", "audit entry 17"),
    "DELETE FROM audit_entries WHERE id = 17": ("audit", "audit entry 17 is missing"),
    "DELETE FROM projects WHERE id = 3": ("references", "refers to a row of projects"),
    "CREATE TABLE extra (id INTEGER)": ("schema", "table extra does not belong to this program"),
    "DROP INDEX projects_by_name": ("schema", "index projects_by_name is missing"),
    "DELETE FROM schema_migrations WHERE version > 1": (
        "schema",
        "does not belong to this program",
    ),
    "UPDATE schema_migrations SET checksum = substr(checksum, 2) || 'x'": ("schema", "0001_"),
    "INSERT INTO schema_migrations SELECT 9999, name, checksum, applied_at"
    " FROM schema_migrations WHERE version = 1": ("schema", "version 9999"),
}


@pytest.mark.parametrize(
    "statement", DAMAGES, ids=[f"{check}-{n}" for n, (check, _) in enumerate(DAMAGES.values())]
)
def test_what_is_wrong_first_is_told(command: Command, installation: Path, statement: str) -> None:
    check, told = DAMAGES[statement]
    _change(installation, statement)
    outcome = command("verify", "--json", "--data-dir", installation)
    assert outcome.status == 1
    assert outcome.complaint.startswith(f"{check}: ")
    assert told in outcome.complaint
    failed = [item for item in outcome.json["checks"] if not item["ok"]]
    assert failed[0]["name"] == check
    plain = command("verify", "--data-dir", installation)
    assert f"{check}\tFAILED: " in plain.out


def test_a_row_that_refers_to_nothing_hides_no_forged_row(
    command: Command, installation: Path
) -> None:
    _change(installation, "UPDATE project_secrets SET project_key_id = 999 WHERE id = 1")
    _change(installation, "UPDATE projects SET webhook_url = 'https://evil.example/' WHERE id = 3")
    outcome = command("verify", "--json", "--data-dir", installation)
    assert outcome.complaint.startswith("references: ")
    problems = {check["name"]: check["problem"] for check in outcome.json["checks"]}
    for change in ("projects/3 was changed", "projects/1/secrets/"):
        assert change in problems["guarded rows"]


def test_a_text_that_is_not_utf8_hides_no_forged_row(command: Command, installation: Path) -> None:
    for number, column in ((3, "name"), (5, "webhook_url")):
        change = f"{column} = CAST(x'61ff' AS TEXT) WHERE id = {number}"
        _change(installation, f"UPDATE projects SET {change}")  # noqa: S608
    _change(
        installation, "UPDATE project_secrets SET ciphertext = CAST(x'ff' AS TEXT) WHERE id = 9"
    )
    _change(installation, "UPDATE projects SET webhook_url = 'https://evil.example/' WHERE id = 7")
    outcome = command("verify", "--json", "--data-dir", installation)
    assert outcome.status == 1
    problems = {check["name"]: check["problem"] for check in outcome.json["checks"]}
    assert problems["secrets"].startswith("1 of 40 can't be decrypted")
    for project in (3, 5, 7):
        assert f"projects/{project} was changed" in problems["guarded rows"]
    assert problems["guarded rows"].startswith("4 rows changed outside the service")


def test_tokens_of_webhooks_are_tried_as_well(command: Command, installation: Path) -> None:
    async def make_webhook() -> None:
        runtime = await Runtime.start(load_settings(data_dir=installation))
        try:
            webhook = {"webhook_type": "github_pr", "secret_token": "a made-up token"}
            await runtime.service.webhooks.create(3, WebhookCreate.model_validate(webhook))
        finally:
            await runtime.stop()

    asyncio.run(make_webhook())
    assert command("verify", "--data-dir", installation).status == 0
    _change(installation, "UPDATE webhooks SET secret_version = secret_version + 1")
    outcome = command("verify", "--data-dir", installation)
    assert outcome.status == 1
    assert "1 of 41 can't be decrypted, starting with webhook 1 of project 3" in outcome.complaint


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (generate_master_key("first"), "master key first is not the key"),
        (generate_master_key("second"), "master key first is in use but missing"),
        ("first:short", "master key 1 of 1"),
        (None, "no master key is configured"),
    ],
    ids=["wrong", "missing", "malformed", "none"],
)
def test_keys_that_do_not_fit_are_told_by_their_ids(
    command: Command,
    installation: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: str | None,
    told: str,
) -> None:
    if keys is None:
        monkeypatch.delenv("STRONGROOM_MASTER_KEYS")
    else:
        monkeypatch.setenv("STRONGROOM_MASTER_KEYS", keys)
    outcome = command("verify", "--data-dir", installation)
    assert outcome.status == 1
    assert outcome.complaint.startswith("keys: ")
    assert told in outcome.complaint
    assert KEY.partition(":")[2] not in outcome.err


def test_the_status_of_keys_shows_what_each_protects(
    command: Command, installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = generate_master_key("second")
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS", f"{second},{KEY}")
    unused = {"fits": None, "installation": False, "project_keys": 0, "secrets": 0}
    unused["answer_keys"] = 0
    unused["removable"] = False
    used = {"installation": True, "project_keys": 20, "secrets": 40, "answer_keys": 0}
    used["removable"] = False
    outcome = command("keys", "status", "--json", "--data-dir", installation)
    assert outcome.json["keys"] == [
        {"id": "second", "configured": True, "current": True, **unused},
        {"id": "first", "configured": True, "current": False, "fits": True, **used},
    ]
    monkeypatch.setenv("STRONGROOM_MASTER_KEYS", generate_master_key("first"))
    wrong = command("keys", "status", "--json", "--data-dir", installation)
    assert wrong.json["keys"] == [
        {"id": "first", "configured": True, "current": True, "fits": False, **used}
    ]
    monkeypatch.delenv("STRONGROOM_MASTER_KEYS")
    plain = command("keys", "status", "--data-dir", installation)
    assert plain.out.split("\n")[1:] == ["first\tno\t-\tyes\t20\t40\t0", ""]


def test_pending_migrations_are_told_and_applied(command: Command, directory: Path) -> None:
    names = [migration.name for migration in load_migrations()]
    check = command("migrate", "--check", "--json", "--data-dir", directory)
    assert (check.status, check.json) == (1, {"pending": names})
    assert not directory.exists()
    plain = command("migrate", "--check", "--data-dir", directory)
    assert plain.out == f"{len(names)} migrations pending: {', '.join(names)}\n"
    applied = command("migrate", "--data-dir", directory)
    assert applied.out == f"applied {len(names)} migrations: {', '.join(names)}\n"
    assert (directory / FILE).stat().st_mode & 0o077 == 0
    check = command("migrate", "--check", "--json", "--data-dir", directory)
    assert (check.status, check.json) == (0, {"pending": []})
    again = command("migrate", "--data-dir", directory)
    assert (again.status, again.out) == (0, "the schema is up to date\n")
    # No service has used it yet, so there is no key to check.
    told = command("verify", "--data-dir", directory)
    assert (told.status, told.err) == (0, "")
    assert "installation\tok (0 rows)\n" in told.out
    assert told.out.endswith("\nall is well: 5 checks, no problems found\n")
    listed = command("token", "list", "--data-dir", directory)
    assert "holds no installation yet: run strongroom serve to create one" in listed.complaint
    at = "2026-01-31T12:00:00.000000Z"
    row = f"VALUES ('a', 'b', 'c', 'a', 'b', 'c', 'a b/c', '{at}', '{at}')"
    columns = "name, github_owner, github_repo, name_key, owner_key, repo_key, search_text"
    columns += ", created_at, updated_at"
    _change(directory, f"INSERT INTO projects ({columns}) {row}")
    told = command("verify", "--data-dir", directory)
    assert told.complaint == (
        "installation: it is missing, but the database has 1 row: restore a backup"
    )


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("3.6.23", False),
        ("3.7.0", True),
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.50.12", False),
        ("3.51.0", True),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.52.0", False),
        ("4.0.0", False),
    ],
)
def test_versions_of_sqlite_that_can_damage_a_log_are_known(version: str, affected: bool) -> None:
    assert has_wal_reset_defect(version) is affected
