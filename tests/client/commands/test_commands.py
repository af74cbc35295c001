"""What the commands for a service print, refuse and end with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from strongroom import Client
from strongroom.__main__ import OF_THE_CLIENT
from tests.cli.commands import CALLS
from tests.client.commands.conftest import VALUE, Command
from tests.support.processes import Outcome
from tests.support.servers import RunningServer

BAKERY = ("--project", "acme/bakery")
pytestmark = pytest.mark.usefixtures("project")


def test_the_commands_start_without_the_server() -> None:
    program = (
        "import sys; from strongroom.__main__ import main; sys.argv = ['strongroom', 'projects', "
        "'list']; status = main(); print(status, *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    status, *modules = done.stdout.split()
    assert status == "2"
    assert "strongroom._commands.projects" in modules
    foreign = {"backend", "config", "database", "fastapi", "models", "sqlite3", "uvicorn"}
    assert not foreign & {module.partition(".")[0] for module in modules}


def test_the_entry_knows_which_commands_need_no_server() -> None:
    first = {name.partition(" ")[0] for name in CALLS}
    assert first >= OF_THE_CLIENT


@pytest.mark.parametrize(
    ("env", "what"),
    [
        ({"URL": None, "TOKEN": None}, "set STRONGROOM_URL and STRONGROOM_TOKEN, or run"),
        ({"URL": None}, "set STRONGROOM_URL"),
        ({"TOKEN": None}, "set STRONGROOM_TOKEN"),
        ({"URL": "ftp://x"}, "the URL of the service must look like"),
    ],
)
def test_what_is_not_configured_is_named(
    command: Command, env: dict[str, str | None], what: str
) -> None:
    given = {f"STRONGROOM_{name}": value for name, value in env.items()}
    outcome = command("projects", "list", env=given)
    assert (outcome.status, outcome.out) == (2, "")
    assert what in outcome.complaint


def test_a_secret_is_set_and_printed_as_it_is(command: Command) -> None:
    for given, options, kept in (
        (b"one\n", (), "one"),
        ("zwölf\r\n".encode(), (), "zwölf"),
        (b"one\n\n", (), "one\n"),
        (b"one\n", ("--exact",), "one\n"),
    ):
        assert command("secrets", "set", "KEPT", *BAKERY, *options, stdin=given).status == 0
        shown = command("secrets", "get", "KEPT", *BAKERY)
        assert shown == Outcome(0, f"{kept}\n", "")
        assert command("secrets", "get", "KEPT", *BAKERY, "--json").json["value"] == kept


def test_no_answer_but_a_reveal_has_a_value(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text(f"ANOTHER={VALUE}\n")
    (tmp_path / "broken.env").write_text(f"ANOTHER={VALUE}\n'{VALUE}\n")
    for words in (
        ("secrets", "set", "TOLD", *BAKERY),
        ("secrets", "list", *BAKERY),
        ("secrets", "import", "a.env", *BAKERY),
        ("secrets", "import", "broken.env", *BAKERY),
        ("projects", "show", "acme/bakery"),
        ("run", *BAKERY, "--", "no-such-command"),
    ):
        for options in ((), ("--json",)) if words[0] != "run" else ((),):
            outcome = command(*words, *options, stdin=VALUE.encode())
            assert VALUE not in outcome.out + outcome.err, words


def test_a_file_is_imported_as_a_whole_and_exported(command: Command, tmp_path: Path) -> None:
    (tmp_path / "shop.env").write_text("FIRST=1\nexport SECOND='two words'\n")
    (tmp_path / "broken.env").write_text("THIRD=3\n'x\n")
    wrong = command("secrets", "import", "broken.env", *BAKERY)
    assert wrong.status == 1
    assert wrong.complaint.startswith("nothing was imported: line 2: ")
    preview = command("secrets", "import", "shop.env", *BAKERY, "--dry-run", "--json")
    assert preview.json["created"] == ["FIRST", "SECOND"]
    done = command("secrets", "import", "-", *BAKERY, stdin=(tmp_path / "shop.env").read_bytes())
    assert done == Outcome(0, "created: FIRST, SECOND\n", "")
    only = (*BAKERY, "--only", "FIRST,SECOND")
    assert command("secrets", "export", *only).out == "FIRST='1'\nSECOND='two words'\n"
    docker = command("secrets", "export", *only, "--format", "docker")
    assert docker.out == "FIRST=1\nSECOND=two words\n"
    assert command("secrets", "export", *only, "--json").json["secrets"] == {
        "FIRST": "1",
        "SECOND": "two words",
    }
    assert command("secrets", "export", *only, "--format", "x").status == 2


def test_projects_are_found_by_repository_and_by_id(command: Command, project: int) -> None:
    listed = command("projects", "list", "--json").json["projects"]
    assert [one["id"] for one in listed if one["github_repo"] == "bakery"] == [project]
    shown = [
        command("projects", "show", *words, "--json").json
        for words in (("acme/bakery",), (str(project),), ("--project", "ACME/Bakery"))
    ]
    assert {one["project"]["id"] for one in shown} == {project}
    assert "value" not in shown[0]["secrets"][0]
    # Escapes of others don't reach a terminal.
    plain = command("projects", "list")
    assert "\x1b" not in plain.out + command("projects", "show", "acme/bakery").out
    assert "Bakery \\x1b[31m" in plain.out


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("projects", "show", "acme/none"), 1, "no project has this id or repository"),
        (("projects", "show", "a/b/c"), 2, "OWNER/REPO: must be OWNER/REPO or an id"),
        (("projects", "show"), 2, "OWNER/REPO: give one project, as OWNER/REPO or by its id"),
        (("secrets", "list", "--project", "0"), 2, "--project: must be OWNER/REPO or an id"),
        (("secrets", "get", "NOPE", *BAKERY), 1, "the project has no secret with this key"),
        (("secrets", "set", "KEPT", *BAKERY), 2, "the value is empty: give it on standard input"),
        (("secrets", "import", "none.env", *BAKERY), 1, "none.env: No such file or directory"),
        (("projects", "list", "--token-file", "none"), 2, "--token-file: No such file"),
        (("projects", "list", "--url", " "), 2, "--url: must be a URL"),
        (("runs", "watch", "0"), 2, "ID: must be an integer between 1 and"),
        (("runs", "list", "--status", "odd"), 2, "status: "),
        (("run", *BAKERY), 2, "Missing argument 'COMMAND'"),
        (("secrets", "list"), 2, "Missing option '--project'"),
    ],
)
def test_an_error_is_one_line(
    command: Command, words: tuple[str, ...], status: int, complaint: str
) -> None:
    outcome = command(*words)
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.complaint.startswith(complaint)


@pytest.mark.long_form
def test_a_service_that_is_not_there_is_one_line(command: Command) -> None:
    # This port is reserved, and nothing listens on it.
    outcome = command("projects", "list", env={"STRONGROOM_URL": "http://127.0.0.1:1"})
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.complaint.startswith("the service can't be reached: ")
    refused = command("projects", "list", env={"STRONGROOM_TOKEN": "sr_wrong"})
    assert refused.status == 1
    assert "token" in refused.complaint


@pytest.mark.long_form
def test_the_shell_completes_them(variables: dict[str, str]) -> None:
    for typed, expected in (("strongroom se", "secrets"), ("strongroom secrets im", "import")):
        given = {
            **variables,
            "_STRONGROOM_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        }
        done = subprocess.run(
            [Path(sys.executable).with_name("strongroom")],
            env={**given, "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert expected in done.stdout.split(), done


def _run_of(client: Client, project: int) -> Any:
    return client.agent_runs.create(project_id=project, target_text="Bake bread")


def test_a_run_is_listed_and_watched_to_its_end(
    command: Command, service: RunningServer, admin: str, project: int
) -> None:
    with Client(service.url, admin) as client:
        run = _run_of(client, project)
        listed = command("runs", "list", *BAKERY, "--status", "pending", "--json").json
        assert run.id in {one["id"] for one in listed["agent_runs"]}
        client.agent_runs.cancel(run.id)
    watched = command("runs", "watch", str(run.id), "--json", "--exit-status")
    assert watched.status == 1
    assert json.loads(watched.out)["status"] == "cancelled"
    missing = command("runs", "watch", str(2**62))
    assert (missing.status, missing.out) == (1, "")
