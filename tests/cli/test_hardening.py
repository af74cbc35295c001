"""How a process protects itself against others on its machine and in its network."""

import contextlib
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from backend.crypto.keyring import generate_master_key
from tests.support.clients import client_at
from tests.support.forked import Forked
from tests.support.processes import PATIENCE, Serving, environment, run

KEY = generate_master_key("first")
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux about a process")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away")


def production(**settings: str) -> dict[str, str]:
    """The environment of a production start, correct except for `settings`."""
    return environment(**{"ENVIRONMENT": "production", "MASTER_KEYS": KEY, **settings})


def address_of(serving: Serving) -> tuple[str, int]:
    """The host and the port."""
    host, _, port = serving.url.removeprefix("http://").rpartition(":")
    return host, int(port)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"AUTH": "off"}, "STRONGROOM_AUTH: off is not permitted in production"),
        (
            {"CORS_ORIGINS": "*"},
            "STRONGROOM_CORS_ORIGINS: * must stand alone, and is not permitted",
        ),
        ({"MASTER_KEYS": "", "MASTER_KEYS_FILE": "keys"}, "other users can access it"),
    ],
    ids=["no authentication", "every origin", "a key that all can read"],
)
def test_production_refuses_what_is_only_convenient(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    (tmp_path / "keys").write_text(KEY)
    (tmp_path / "keys").chmod(0o644)
    directory = tmp_path / "data"
    env = production(**settings)
    outcome = run("serve", "--port", "0", "--data-dir", directory, cwd=tmp_path, env=env)
    assert outcome.status == 1
    assert told in outcome.complaint
    assert KEY.partition(":")[2] not in outcome.err
    assert not (directory / "strongroom.db").exists()


def test_production_refuses_a_data_directory_that_others_can_write(tmp_path: Path) -> None:
    directory = tmp_path / "the data"
    directory.mkdir()
    commands = [(0o770, ["serve", "--port", "0"]), (0o702, ["migrate"]), (0o1777, ["migrate"])]
    for mode, command in commands:
        directory.chmod(mode)
        outcome = run(*command, "--data-dir", directory, cwd=tmp_path, env=production())
        assert outcome.status == 1
        assert f"chmod go-w '{directory}'" in outcome.complaint
        assert list(directory.iterdir()) == []
    directory.chmod(0o755)
    assert run("migrate", "--data-dir", directory, cwd=tmp_path, env=production()).status == 0


def test_production_refuses_a_data_directory_that_everybody_can_replace(tmp_path: Path) -> None:
    above = tmp_path / "above"
    directory = above / "between" / "data"
    directory.mkdir(parents=True, mode=0o700)
    above.chmod(0o777)
    outcome = run("migrate", "--data-dir", directory, cwd=tmp_path, env=production())
    assert outcome.status == 1
    assert f"can be replaced by any user: chmod o-w {above}" in outcome.complaint
    # As in /tmp, where users can replace only their own files.
    above.chmod(0o1777)
    assert run("migrate", "--data-dir", directory, cwd=tmp_path, env=production()).status == 0


def test_production_refuses_master_keys_in_a_file_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"strongroom_master_keys={KEY}\n")
    file.chmod(0o640)
    env = production()
    del env["STRONGROOM_MASTER_KEYS"]
    outcome = run("serve", "--port", "0", cwd=tmp_path, env=env)
    assert outcome.status == 1
    assert "other users can access it: chmod 600 .env" in outcome.complaint
    assert KEY.partition(":")[2] not in outcome.err
    file.chmod(0o600)
    with Serving(tmp_path / "data", env=env) as serving:
        assert serving.end() == 0
    # Who can read the file matters only while it contains keys.
    file.write_text("STRONGROOM_PORT=0\n")
    file.chmod(0o644)
    with Serving(tmp_path / "data", env=production()) as serving:
        assert serving.end() == 0


@AS_ROOT
def test_production_refuses_the_directory_of_another_user(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, -1)
    outcome = run("migrate", "--data-dir", directory, cwd=tmp_path, env=production())
    assert outcome.status == 1
    assert f"chown -R 0 {directory}" in outcome.complaint


def test_elsewhere_such_a_directory_is_a_warning(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(0o777)
    with Serving(directory, env=environment(LOG_FORMAT="json")) as serving:
        assert f"chmod go-w {directory}" in serving.err
        assert '"level":"warning"' in serving.err
        assert serving.end() == 0


def test_the_directory_that_a_start_makes_is_its_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    before = os.umask(0)
    try:
        with Serving(directory, env=production()) as serving:
            assert serving.end() == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in directory.iterdir()} == {0}


@ON_LINUX
@pytest.mark.parametrize(
    "env",
    [
        pytest.param(environment(), id="development", marks=pytest.mark.long_form),
        pytest.param(production(), id="production"),
    ],
)
def test_a_crash_leaves_no_picture_of_the_memory(tmp_path: Path, env: dict[str, str]) -> None:
    with Serving(tmp_path / "data", env=env, installed=True) as serving:
        assert resource.prlimit(serving.process.pid, resource.RLIMIT_CORE) == (0, 0)
        serving.process.send_signal(signal.SIGABRT)
        # `Popen` does not tell whether there was a core dump.
        _, status = os.waitpid(serving.process.pid, 0)
        assert isinstance(serving.process, subprocess.Popen)
        serving.process.returncode = -os.WTERMSIG(status)
        assert serving.process.stdout is not None
        serving.process.stdout.close()
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)


def test_no_command_leaves_one_either(tmp_path: Path) -> None:
    script = tmp_path / "keys.sh"
    script.write_text(f"ulimit -Sc >{tmp_path}/limit; ulimit -Hc >>{tmp_path}/limit; echo {KEY}")
    env = environment(MASTER_KEYS_COMMAND=f"/bin/sh {script}")
    assert run("migrate", "--data-dir", "data", cwd=tmp_path, env=env).status == 0
    # The process that the command started has the same limits.
    assert (tmp_path / "limit").read_text() == "0\n0\n"


def execute(programs: Sequence[str]) -> int:
    """Run programs in this process."""
    for program in programs:
        exec(program, {})  # noqa: S102 - they are the tests' own
    return 0


def python(program: str) -> str:
    """The output of a program in its own process."""
    process = Forked([program], cwd=Path.cwd(), env=environment(), function=execute)
    said, _ = process.communicate(PATIENCE)
    assert process.wait() == 0
    return said.strip()


@ON_LINUX
@pytest.mark.parametrize(("traceable", "dumpable"), [(True, "1"), (False, "0")])
def test_what_is_not_traceable_is_not_dumped_at_all(traceable: bool, dumpable: str) -> None:
    said = python(
        "import ctypes\n"
        "from backend.cli.process_limits import forbid_core_dumps\n"
        f"forbid_core_dumps(traceable={traceable})\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    assert said == dumpable


@contextlib.contextmanager
def open_files(soft: int) -> Iterator[None]:
    """Processes that start inside the block may open `soft` files, until they raise the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@ON_LINUX
def test_a_start_may_open_as_many_files_as_it_has_connections(tmp_path: Path) -> None:
    with open_files(300):
        serving = Serving(tmp_path / "data", env=environment(MAX_CONNECTIONS="500"))
    with serving:
        soft, _ = resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE)
        assert soft == 756
        assert "MAX_CONNECTIONS" not in serving.err
        assert serving.end() == 0


@pytest.mark.parametrize(
    ("soft", "hard", "fitting", "raised"),
    [(300, 1000, 744, 1000), (300, 300, 44, 300), (1300, 1300, 1000, 1300), (100, 100, 1, 100)],
)
def test_where_the_system_permits_fewer_that_is_told(
    soft: int, hard: int, fitting: int, raised: int
) -> None:
    said = python(
        "import resource, sys\n"
        "from backend.observability.log import configure_logging\n"
        "configure_logging('INFO', 'json', sys.stdout)\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from backend.cli.process_limits import connections_that_fit\n"
        "print(connections_that_fit(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    *log, numbers = said.splitlines()
    assert numbers == f"{fitting} {raised}"
    assert len(log) == (fitting < 1000)
    if log:
        assert "STRONGROOM_MAX_CONNECTIONS" in log[0]
        assert f'"connections":{fitting}' in log[0]


def test_settings_reach_the_server(tmp_path: Path) -> None:
    env = environment(MAX_CONNECTIONS="2", DOCS="off", TRUSTED_HOSTS="strongroom.example.com")
    host = {"Host": "strongroom.example.com"}
    with Serving(tmp_path / "data", env=env) as serving:
        address = address_of(serving)
        with (
            client_at(serving.url) as client,
            closing(socket.create_connection(address, timeout=PATIENCE)),
        ):
            assert client.get("/health").status_code == 200
            assert client.get("/").status_code == 400
            assert client.get("/", headers=host).status_code == 200
            assert client.get("/docs", headers=host).status_code == 404
            with closing(socket.create_connection(address, timeout=PATIENCE)) as third:
                assert third.recv(1024).startswith(b"HTTP/1.1 503 ")
            assert client.get("/health").status_code == 200
        assert serving.end() == 0


@pytest.mark.long_form
def test_slow_clients_are_closed(tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as serving, contextlib.ExitStack() as stack:
        post = (
            "POST /api/projects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            f"Content-Type: application/json\r\nAuthorization: Bearer {serving.token}\r\n\r\n{{"
        )
        heads = (b"", b"GET /health HTTP/1.1\r\nHost: lo", post.encode())
        slow = []
        for head in heads:
            connection = socket.create_connection(address_of(serving), timeout=PATIENCE)
            slow.append(stack.enter_context(closing(connection)))
            connection.sendall(head)
        for connection in slow:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1024) == b""
        with serving.client() as client:
            assert client.get("/ready").status_code == 200
        assert serving.end() == 0
