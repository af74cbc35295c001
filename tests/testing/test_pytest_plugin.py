"""The fixtures for suites of other programs, in processes of pytest as such suites run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment
from tests.support.tree import ROOT
from tests.testing.suites import ASYNC, CLIENT, FAILING, LEAKING, SENDING, SYNC

NO_ASYNCIO = ("-p", "no:asyncio")
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:schemathesis", "-W", "error")


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


@pytest.mark.long_form
def test_values_are_known_however_they_were_sent(tmp_path: Path) -> None:
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    status, text = run_suite(tmp_path, *options, test_sending=SENDING)
    assert (status, outcomes(text)) == (1, {"passed": 25, "errors": 20}), text
