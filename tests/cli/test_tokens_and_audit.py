"""`strongroom token` and `strongroom audit`."""

import asyncio
import json
import stat
from pathlib import Path

import pytest

from backend.crypto.token_format import parse_token
from backend.errors import Unauthenticated
from backend.runtime import Runtime
from backend.services.principal import Principal
from config.settings import Settings
from tests.cli.conftest import Command, Install
from tests.support.processes import Serving, document, run


@pytest.fixture
def installation(install: Install) -> Path:
    """A data directory with a project that has secrets, and no server."""
    return install([document(1)])


def holder(directory: Path, token: str) -> Principal:
    """The principal that the service recognises by this token. Raises `Unauthenticated`."""

    async def authenticate() -> Principal:
        settings = Settings(_env_file=None, data_dir=directory)
        runtime = await Runtime.start(settings, issue_first_token=False)
        try:
            return await runtime.service.tokens.authenticate(token)
        finally:
            await runtime.stop()

    return asyncio.run(authenticate())


def test_a_token_is_printed_alone_and_works(command: Command, installation: Path) -> None:
    options = ("--scope", "projects:read", "--scope", "runs:read", "--project", "1")
    made = command(
        "token", "create", "ci", *options, "--expires-in", "90d", "--data-dir", installation
    )
    assert (made.status, made.err) == (0, "")
    token = made.out.removesuffix("\n")
    assert parse_token(token) is not None
    principal = holder(installation, token)
    assert principal.name == "ci"
    assert principal.scopes == {"projects:read", "runs:read"}
    assert principal.project_ids == frozenset({1})


def test_a_token_as_json_has_what_it_was_made_with(command: Command, installation: Path) -> None:
    made = command(
        "token", "create", "ci", "--scope", "admin", "--json", "--data-dir", installation
    )
    assert made.json["scopes"] == ["admin"]
    assert made.json["project_ids"] is None
    assert made.json["expires_at"] is None
    assert holder(installation, made.json["token"]).name == "ci"


def test_tokens_are_listed_without_what_it_takes_to_use_them(
    command: Command, installation: Path
) -> None:
    token = command("token", "create", "ci", "--scope", "admin", "--data-dir", installation).out
    listed = command("token", "list", "--json", "--data-dir", installation).json["tokens"]
    assert "ci" in [one["name"] for one in listed]
    plain = command("token", "list", "--data-dir", installation).out
    assert "ci\tadmin\tall\t" in plain
    assert token.strip()[5:] not in plain + json.dumps(listed)


def test_a_revoked_token_opens_nothing(command: Command, installation: Path) -> None:
    made = command(
        "token", "create", "ci", "--scope", "admin", "--json", "--data-dir", installation
    ).json
    revoked = command("token", "revoke", str(made["id"]), "--data-dir", installation)
    assert (revoked.status, revoked.out, revoked.err) == (0, f"token {made['id']} is revoked\n", "")
    with pytest.raises(Unauthenticated):
        holder(installation, made["token"])
    names = [
        [one["name"] for one in command(*line, "--data-dir", installation).json["tokens"]]
        for line in (("token", "list", "--json"), ("token", "list", "--revoked", "--json"))
    ]
    assert "ci" not in names[0]
    assert "ci" in names[1]
    again = command("token", "revoke", str(made["id"]), "--data-dir", installation)
    assert again.status == 1
    assert again.complaint == "no active token has this id"


def test_scopes_and_projects_may_stand_between_commas(command: Command, installation: Path) -> None:
    options = ("--scope", "projects:read, runs:read", "--scope", "runs:read,logs:read,")
    made = command(
        *("token", "create", "ci", *options, "--project", "1,1", "--json"),
        *("--data-dir", installation),
    ).json
    assert made["scopes"] == ["logs:read", "projects:read", "runs:read"]
    assert made["project_ids"] == [1]


def test_what_was_revoked_and_exported_is_told_as_json(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    made = command(
        "token", "create", "ci", "--scope", "admin", "--json", "--data-dir", installation
    ).json
    call = ("token", "revoke", str(made["id"]), "--json", "--data-dir", installation)
    revoked = command(*call).json
    assert (revoked["id"], revoked["name"]) == (made["id"], "ci")
    assert revoked["revoked_at"] is not None
    target = tmp_path / "audit.jsonl"
    exported = command("audit", "export", target, "--json", "--data-dir", installation)
    assert exported.json == {"exported": target.read_bytes().count(b"\n")}
    twice = command("audit", "export", "-", "--json", "--data-dir", installation)
    assert twice.status == 2
    assert "name a file" in twice.complaint


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "--scope"),
        (("--scope", ""), "--scope"),
        (("--scope", "projects:read,everything"), "--scope"),
        (("--scope", "admin", "--project", "1,two"), "--project: must be a number"),
        (("--scope", "everything"), "--scope"),
        (("--scope", "admin", "--expires-in", "soon"), "--expires-in: must be a duration"),
        (("--scope", "admin", "--project", "77"), "--project: no project has this id"),
        (("--scope", "admin", "--project", "0"), "--project"),
    ],
)
def test_wrong_use_is_told_and_makes_nothing(
    command: Command, installation: Path, options: tuple[str, ...], complaint: str
) -> None:
    outcome = command("token", "create", "ci", *options, "--data-dir", installation)
    assert outcome.status == 2
    assert complaint in outcome.complaint
    assert outcome.out == ""
    # Only the token of the first start may exist.
    listed = command("token", "list", "--json", "--data-dir", installation).json["tokens"]
    assert {one["name"] for one in listed} <= {"admin"}


@pytest.mark.parametrize(
    "line", [("token", "create", "ci", "--scope", "admin"), ("token", "revoke", "1")]
)
def test_where_there_is_no_database_none_is_made(
    command: Command, directory: Path, line: tuple[str, ...]
) -> None:
    outcome = command(*line, "--data-dir", directory)
    assert outcome.status == 1
    assert "does not exist" in outcome.complaint
    assert not directory.exists()


def test_the_audit_goes_to_a_file_for_its_owner(
    command: Command, installation: Path, tmp_path: Path
) -> None:
    target = tmp_path / "audit.jsonl"
    outcome = command("audit", "export", target, "--data-dir", installation)
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert (outcome.status, outcome.out) == (0, f"{len(lines)} rows exported to {target}\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [line["id"] for line in lines] == list(range(1, len(lines) + 1))
    assert "project.created" in {line["action"] for line in lines}
    assert {line["actor"] for line in lines} == {"system"}
    assert command("audit", "export", target, "--data-dir", installation).status == 1
    rest = command("audit", "export", "-", "--after-id", "2", "--data-dir", installation)
    assert [json.loads(line)["id"] for line in rest.out.splitlines()] == [
        line["id"] for line in lines[2:]
    ]


def test_beside_a_running_server_it_reads_and_does_not_write(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with Serving(directory) as serving:
        for line, call in (
            (("token", "create", "ci", "--scope", "admin"), "POST /api/tokens"),
            (("token", "revoke", "1"), "DELETE /api/tokens/1"),
        ):
            outcome = run(*line, "--data-dir", directory, cwd=tmp_path)
            assert outcome.status == 1
            assert f"process {serving.process.pid} is using" in outcome.complaint
            assert call in outcome.complaint
        listed = run("token", "list", "--json", "--data-dir", directory, cwd=tmp_path)
        assert [one["name"] for one in listed.json["tokens"]] == ["admin"]
        exported = run("audit", "export", "-", "--data-dir", directory, cwd=tmp_path)
        assert json.loads(exported.out)["action"] == "token.created"
        assert serving.end() == 0
