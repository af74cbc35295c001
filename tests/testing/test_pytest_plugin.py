"""The fixtures for suites of other programs, in processes of pytest as such suites run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment
from tests.support.tree import ROOT

NO_ASYNCIO = ("-p", "no:asyncio")
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-W", "error")
SYNC = """
import json, time, urllib.error, urllib.request
from datetime import UTC, datetime, timedelta

import pytest


def ask(server, token, path, body=None):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, headers)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


PROJECT = {"name": "p", "github_owner": "o", "github_repo": "r"}


@pytest.mark.parametrize("turn", range(2))
def test_each_test_has_an_empty_store(strongroom_server, strongroom_admin_token, turn):
    assert ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)["id"] == 1


def test_tokens(strongroom_server, strongroom_admin_token, strongroom_token):
    ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)
    token = strongroom_token(["projects:read"], projects=[1])
    me = ask(strongroom_server, token, "/api/me")
    assert (me["scopes"], me["project_ids"]) == (["projects:read"], [1])


def test_the_clock(strongroom_server, strongroom_clock, strongroom_admin_token):
    before = datetime.now(UTC)
    assert strongroom_clock.move(timedelta(days=2)) - before >= timedelta(days=2)
    assert strongroom_clock.set(datetime(2040, 1, 1, tzinfo=UTC)).year == 2040
    made = ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)
    assert made["created_at"].startswith("2040-01-01T")
    assert strongroom_clock.reset().year < 2040
    with pytest.raises(ValueError, match="give a time with a zone"):
        strongroom_clock.set(datetime(2040, 1, 1))
    strongroom_clock.set(datetime(2040, 1, 1, tzinfo=UTC))


def test_faults(strongroom_server, strongroom_faults, strongroom_admin_token):
    def refused(code):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)
        with refusal.value as answer:
            return json.loads(answer.read())["code"] == code

    strongroom_faults.fail_next_commit()
    assert refused("database_busy")
    strongroom_faults.disk_full()
    assert refused("database_full")
    strongroom_faults.disk_full(False)
    strongroom_faults.lose_next_answer()
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)
    assert len(ask(strongroom_server, strongroom_admin_token, "/api/projects")["projects"]) == 1
    strongroom_faults.slow(30)
    began = time.monotonic()
    ask(strongroom_server, strongroom_admin_token, "/api/projects")
    assert time.monotonic() - began >= 0.03


def test_no_fault_and_no_time_is_left(strongroom_server):
    token = strongroom_server.reset()
    made = ask(strongroom_server, token, "/api/projects", PROJECT)
    assert not made["created_at"].startswith("2040")
"""
FAILING = """
def test_fails(strongroom_server, strongroom_token):
    strongroom_token(["projects:read"])
    assert strongroom_server.url == "elsewhere"


def test_wrong_scope(strongroom_token):
    strongroom_token(["everything"])


def test_without_the_server():
    assert False
"""


def run_suite(folder: Path, *options: str, **files: str) -> tuple[int, str]:
    """Run a suite of these files in a new process. Returns the exit status and what it prints."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pytest",
        *OPTIONS,
        "--basetemp",
        folder / "tmp",
        *options,
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(AUTH="off", ENVIRONMENT="production"),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def outcomes(text: str) -> dict[str, int]:
    """The numbers of the last line that pytest prints."""
    last = text.strip().splitlines()[-1]
    return {
        kind: int(count) for count, kind in re.findall(r"(\d+) (\w+)", last.partition(" in ")[0])
    }


ASYNC = """
import asyncio

import pytest

loops = set()


@pytest.fixture(scope="module")
def seen():
    return set()


async def test_one(strongroom_server, strongroom_admin_token, strongroom_clock, strongroom_faults):
    assert asyncio.get_running_loop()
    assert strongroom_admin_token.startswith("sr_1_")


async def test_two(strongroom_admin_token, seen):
    assert strongroom_admin_token not in seen
    seen.add(strongroom_admin_token)
"""


CLIENT = """
import logging

import pytest
from strongroom import AsyncClient, DatabaseBusy

LOUD = logging.getLogger("program")
VALUE = "a value that \\"must\\" stay private"


async def test_the_client_and_the_project(strongroom_client, strongroom_project):
    assert isinstance(strongroom_client, AsyncClient)
    assert strongroom_project.id == 1
    assert [one async for one in strongroom_client.projects.list()] == [strongroom_project]


async def test_another_store(strongroom_client, strongroom_leaks):
    assert [one async for one in strongroom_client.projects.list()] == []


async def test_a_fault_that_the_client_gets_over(strongroom_client, strongroom_faults):
    strongroom_faults.fail_next_commit()
    strongroom_faults.lose_next_answer()
    made = await strongroom_client.projects.create(name="n", github_owner="o", github_repo="r")
    assert made.id == 1


async def test_nothing_leaks(strongroom_client, strongroom_project, strongroom_leaks, tmp_path):
    secrets = strongroom_client.secrets
    await secrets.put(strongroom_project.id, "API_KEY", value=VALUE)
    assert dict(await secrets.reveal(strongroom_project.id)) == {"API_KEY": VALUE}
    LOUD.warning("all is well")
    (tmp_path / "notes").write_text("nothing")
"""
LEAKING = """
import logging

import pytest

VALUE = "a value that \\"must\\" stay private"


@pytest.fixture(autouse=True)
async def stored(strongroom_client, strongroom_project):
    await strongroom_client.secrets.put(1, "API_KEY", value=VALUE)


async def test_line(strongroom_leaks):
    logging.getLogger("program").warning("the key is %s", VALUE)


async def test_file(strongroom_leaks, tmp_path):
    (tmp_path / "notes").write_text(VALUE)


async def test_answer(strongroom_leaks, strongroom_client):
    # The webhook's URL is no secret, and an answer shows it.
    url = "https://example.com/" + VALUE.replace(" ", "%20").replace('"', "%22")
    await strongroom_client.projects.update(1, webhook_url=url)


async def test_what_is_left_of_an_earlier_test_is_not_its_own(strongroom_leaks):
    pass
"""


def test_the_fixtures_and_what_failures_show(tmp_path: Path) -> None:
    """One suite, because a server for each would take a second of the processor."""
    # Modules with the names of the server's are no matter to it, and neither are settings.
    others = dict.fromkeys(("models", "config", "backend", "database"), "raise RuntimeError\n")
    (tmp_path / ".env").write_text("STRONGROOM_PORT=nonsense\n")
    status, text = run_suite(
        tmp_path,
        *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
        test_a_sync=SYNC,
        test_b_failing=FAILING,
        test_c_client=CLIENT,
        test_d_leaking=LEAKING,
        **others,
    )
    assert (status, outcomes(text)) == (1, {"failed": 3, "passed": 14, "errors": 3}), text
    errors, _, failures = text.partition(" FAILURES ")
    check_failures(failures)
    check_leaks(errors)
    assert not re.search(r"sr_[0-9]", text)


def check_failures(text: str) -> None:
    """Check what pytest shows of the tests of `FAILING`."""
    failed, wrong, without = re.split(r"_{5,} test_\w+ _{5,}", text)[1:]
    assert "Log of strongroom_server (call)" in failed
    assert failed.count('"route":"/api/tokens","status":201') == 1
    assert "everything" not in failed
    assert "422 validation_failed: see errors; /scopes/0: Input should be" in wrong
    assert '"status":422' in wrong
    assert "Log of strongroom_server" not in without


def check_leaks(text: str) -> None:
    """Check what pytest shows of the tests of `LEAKING`."""
    line, file, answer = re.split(r"_{5,} ERROR at teardown of test_\w+ _{5,}", text)[1:]
    assert "the value of API_KEY stands in a line that program has logged" in line
    assert "the value of API_KEY stands in the file notes" in file
    assert "the value of API_KEY stands in the answer to PATCH /api/projects/1" in answer
    assert "the value of API_KEY stands in the file strongroom.db-wal" in answer
    assert [part.count("stands in") for part in (line, file, answer)] == [1, 1, 2]


@pytest.mark.long_form
@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_they_belong_to_no_event_loop(tmp_path: Path, mode: str, scope: str) -> None:
    mark = "import pytest\npytestmark = pytest.mark.asyncio\n" if mode == "strict" else ""
    status, text = run_suite(
        tmp_path,
        *("-o", f"asyncio_mode={mode}"),
        *("-o", f"asyncio_default_fixture_loop_scope={scope}"),
        *("-o", f"asyncio_default_test_loop_scope={scope}"),
        test_async=mark + ASYNC,
    )
    assert (status, outcomes(text)) == (0, {"passed": 2}), text


@pytest.mark.long_form
def test_they_work_with_anyio(tmp_path: Path) -> None:
    mark = "import pytest\npytestmark = pytest.mark.anyio\n"
    backend = "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    status, text = run_suite(tmp_path, *NO_ASYNCIO, test_async=mark + ASYNC + backend)
    assert (status, outcomes(text)) == (0, {"passed": 2}), text


@pytest.mark.long_form
def test_they_need_no_other_plugin(tmp_path: Path) -> None:
    others = ("asyncio", "anyio", "xdist", "pytest_cov", "hypothesispytest")
    without = [word for name in others for word in ("-p", f"no:{name}")]
    status, text = run_suite(tmp_path, *without, test_sync=SYNC)
    assert (status, outcomes(text)) == (0, {"passed": 6}), text


@pytest.mark.long_form
def test_each_worker_of_xdist_has_its_own_server(tmp_path: Path) -> None:
    suite = """
        import os, pytest

        @pytest.mark.parametrize("turn", range(20))
        def test_one(strongroom_server, strongroom_admin_token, turn):
            print("server", os.environ["PYTEST_XDIST_WORKER"], strongroom_server.url)
    """
    status, text = run_suite(tmp_path, *NO_ASYNCIO, "-n", "2", "-rP", test_one=_dedented(suite))
    assert status == 0, text
    servers = set(re.findall(r"server (gw\d) (http://\S+)", text))
    assert len(servers) == len({url for _, url in servers}) == 2


@pytest.mark.long_form
def test_a_server_that_does_not_start_is_told_with_its_status(tmp_path: Path) -> None:
    conftest = "import sys\nsys.executable = '/bin/false'\n"
    status, text = run_suite(tmp_path, *NO_ASYNCIO, conftest=conftest, test_sync=SYNC)
    assert (status, outcomes(text)) == (1, {"errors": 6}), text
    assert (
        "strongroom_server: the server for tests did not start, and has ended with status 1" in text
    )
    assert "Traceback" not in text


@pytest.mark.long_form
def test_a_server_that_dies_is_told(tmp_path: Path) -> None:
    suite = """
        def test_kills(strongroom_server):
            strongroom_server.kill()

        def test_later(strongroom_admin_token):
            pass
    """
    status, text = run_suite(tmp_path, *NO_ASYNCIO, test_one=_dedented(suite))
    assert status == 1
    assert "strongroom_admin_token: the server for tests has ended with status -9" in text


@pytest.mark.long_form
def test_a_suite_that_does_not_use_them_pays_nothing(tmp_path: Path) -> None:
    suite = """
        import sys

        def test_one():
            ours = {name for name in sys.modules if name.split(".")[0] == "strongroom"}
            assert ours == {"strongroom", "strongroom.pytest_plugin"}
            assert not {"httpx", "pydantic", "backend", "models"} & set(sys.modules)
    """
    others = ("asyncio", "anyio", "xdist", "pytest_cov", "hypothesispytest")
    without = [word for name in others for word in ("-p", f"no:{name}")]
    status, text = run_suite(tmp_path, *without, test_one=_dedented(suite))
    assert (status, outcomes(text)) == (0, {"passed": 1}), text


def _dedented(text: str) -> str:
    return re.sub(r"^ {8}", "", text, flags=re.MULTILINE)


@pytest.mark.long_form
def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    status, text = run_suite(tmp_path, *options, test_example=example)
    assert (status, outcomes(text)) == (0, {"passed": 5}), text


SENDING = """
import base64, json, logging, urllib.parse

import pytest

VALUE = "a long \\"value\\" to be found"


async def in_project(client):
    await client.projects.create(
        name="n", github_owner="o", github_repo="r", secrets={"API_KEY": VALUE}
    )
    await client.projects.delete(2, purge=True)


async def in_list(client):
    await client.secrets.update(1, {"API_KEY": VALUE})
    await client.secrets.delete(1, "API_KEY", purge=True)


async def in_dotenv(client):
    await client.secrets.import_dotenv(1, f"# keys\\nexport API_KEY='{VALUE}'\\n")
    await client.secrets.delete(1, "API_KEY", purge=True)


async def in_webhook(client):
    await client.webhooks.create(
        1,
        webhook_type="custom",
        webhook_url="https://example.com/",
        events=["push"],
        secret_token=VALUE,
    )


async def by_another_client(client):
    token = client._transport.options.headers["Authorization"].removeprefix("Bearer ")
    async with type(client)(client.url, token) as other:
        await other.secrets.put(1, "API_KEY", value=VALUE)


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        json.dumps(VALUE),
        urllib.parse.quote(VALUE, safe=""),
        base64.b64encode(VALUE.encode()).decode(),
        "",
    ],
    ids=["plain", "json", "url", "base64", "nothing"],
)
@pytest.mark.parametrize("send", [in_project, in_list, in_dotenv, in_webhook, by_another_client])
async def test_sent(strongroom_client, strongroom_project, strongroom_leaks, send, form):
    await send(strongroom_client)
    logging.getLogger("program").warning("logged: %s", form)
"""


@pytest.mark.long_form
def test_values_are_known_however_they_were_sent(tmp_path: Path) -> None:
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    status, text = run_suite(tmp_path, *options, test_sending=SENDING)
    assert (status, outcomes(text)) == (1, {"passed": 25, "errors": 20}), text
