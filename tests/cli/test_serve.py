"""Starting and stopping the service as its operator does."""

import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import httpx
import pytest

from backend.crypto.keyring import generate_master_key
from tests.cli.conftest import Command
from tests.cli.piped import piped
from tests.support.clients import NO_TLS, client_at
from tests.support.forked import Forked
from tests.support.processes import PATIENCE, STRONGROOM, Serving, environment

NO_LONGER = 10.0
"""Seconds within which a service ends after a signal."""


def test_the_first_start_says_how_to_call_it_and_the_second_only_where(tmp_path: Path) -> None:
    directory = tmp_path / 'my "data" of $HOME\'s'
    with Serving(directory) as serving:
        call = serving.wait_for("curl ")
        assert str(directory / "admin.token") in serving.lines[1]
        assert stat.S_IMODE((directory / "admin.token").stat().st_mode) == 0o600
        assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in directory.iterdir()} == {0}
        if shutil.which("curl"):
            answer = subprocess.run(
                ["/bin/sh", "-c", call], cwd="/", capture_output=True, timeout=PATIENCE, check=True
            )
            assert json.loads(answer.stdout) == {"projects": [], "next_cursor": None}
        else:
            words = shlex.split(call)
            assert words[-1] == f"{serving.url}/api/projects"
            assert words[-2] == f"Authorization: Bearer $(cat {shlex.quote(str(directory))}"
        token = serving.token
        assert serving.end() == 0
        assert len(serving.lines) == 4
        assert token not in "\n".join(serving.lines)
        assert token not in serving.err
    with Serving(directory) as serving:
        with serving.client() as client:
            assert client.get("/api/projects").status_code == 200
        assert serving.end() == 0
        assert serving.lines == [f"Strongroom is running at {serving.url}"]
        assert serving.token == token
        assert token not in serving.err


def test_a_second_process_is_told_who_has_the_data(command: Command, directory: Path) -> None:
    with Serving(directory) as serving:
        pid = f"process {serving.process.pid} "
        elsewhere = command("serve", "--port", "0", "--data-dir", directory)
        assert elsewhere.status == 1
        assert elsewhere.out == ""
        assert pid in elsewhere.complaint
        port = serving.url.rpartition(":")[2]
        same = command("serve", "--port", port, "--data-dir", directory)
        assert same.status == 1
        assert pid in same.complaint
        assert f"port {port}" in same.complaint
        assert serving.end() == 0


def test_a_port_in_use_is_told_before_anything_is_made(command: Command, directory: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        outcome = command("serve", "--port", port, "--data-dir", directory)
    assert outcome.status == 1
    assert f"port {port} of 127.0.0.1 is in use" in outcome.complaint
    assert "--port" in outcome.complaint
    assert not directory.exists()


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "is not an address"), ("no.such.invalid", "can't be resolved")],
)
def test_a_host_that_is_not_this_machine_is_refused(
    command: Command, directory: Path, host: str, reason: str
) -> None:
    outcome = command("serve", "--host", host, "--port", 0, "--data-dir", directory)
    assert outcome.status == 1
    assert f"{host} {reason}" in outcome.complaint


def test_a_setting_without_effect_is_told(directory: Path) -> None:
    with Serving(directory, env=environment(AUDIT_HEADS_SECONDS="10")) as serving:
        assert serving.end() == 0
    assert "settings have no effect any more: remove them" in serving.err
    assert "STRONGROOM_AUDIT_HEADS_SECONDS" in serving.err


def test_flags_win_over_the_environment(directory: Path) -> None:
    env = environment(PORT="1", DATA_DIR="/nonexistent/elsewhere", HOST="192.0.2.1")
    with Serving(directory, "--host", "localhost", env=env) as serving:
        assert serving.url.startswith("http://localhost:")
        with serving.client() as client:
            assert client.get("/health").status_code == 200
        assert serving.end(signal.SIGINT) == 0
    assert (directory / "strongroom.db").exists()


def _post(serving: Serving, body: bytes, sent: int) -> http.client.HTTPConnection:
    """A POST with `sent` bytes of its body sent, for whose rest the service waits."""
    host, _, port = serving.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    connection.putrequest("POST", "/api/projects")
    connection.putheader("Authorization", f"Bearer {serving.token}")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    # The answer to this header shows that the request has begun.
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock is not None
    connection.send(body[:sent])
    assert connection.sock.recv(1024).startswith(b"HTTP/1.1 100 ")
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_request_in_flight_is_answered_before_the_end(
    command: Command, directory: Path, number: signal.Signals
) -> None:
    body = b'{"name": "Late", "github_owner": "acme", "github_repo": "late"}'
    with Serving(directory) as serving, serving.client() as idle:
        assert idle.get("/health").status_code == 200
        with closing(_post(serving, body, 10)) as connection:
            serving.process.send_signal(number)
            # The service closes idle connections once its shutdown has begun.
            assert _closed_by_the_server(serving)
            connection.send(body[10:])
            answer = connection.getresponse()
            assert answer.status == 201
            assert json.loads(answer.read())["name"] == "Late"
        assert serving.finish(NO_LONGER) == 0
    kept = command("export", "-", "--data-dir", directory).out
    assert json.loads(kept)["name"] == "Late"


def _closed_by_the_server(serving: Serving) -> bool:
    """Wait until the service accepts no more connections."""
    host, _, port = serving.url.removeprefix("http://").partition(":")
    while True:
        try:
            with closing(socket.create_connection((host, int(port)), timeout=PATIENCE)) as other:
                # A connection that was accepted at the last moment is closed without an answer.
                other.recv(1)
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            continue


@pytest.mark.long_form
def test_a_request_that_never_ends_does_not_hold_back_the_end(
    command: Command, directory: Path
) -> None:
    with Serving(directory) as serving, closing(_post(serving, b"{" * 100, 10)):
        assert serving.end(within=NO_LONGER) == 0
    outcome = command("verify", "--data-dir", directory)
    assert (outcome.status, outcome.err) == (0, "")


def test_a_signal_during_the_start_ends_it(directory: Path) -> None:
    pipe = directory.parent / "keys"
    os.mkfifo(pipe)
    env = environment(MASTER_KEYS_COMMAND=f"cat {pipe}")
    serving = Serving(directory, env=env)
    try:
        # `open` returns once the other end is open: then the start is waiting for its key.
        with pipe.open("w") as keys:
            serving.process.send_signal(signal.SIGTERM)
            keys.write(generate_master_key())
        assert serving.finish(NO_LONGER) == 0
        assert (directory / "strongroom.db").exists()
    finally:
        serving.__exit__(None, None, None)


def test_a_hangup_that_is_ignored_ends_nothing(directory: Path) -> None:
    with Serving(directory, under=("nohup",)) as serving, serving.client() as client:
        serving.process.send_signal(signal.SIGHUP)
        assert client.get("/api/projects").status_code == 200
        assert serving.end(signal.SIGQUIT) == 0


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


def _healthy(process: "subprocess.Popen[bytes] | Forked", port: int) -> bool:
    """Wait for the first answer. Returns whether it was a success."""
    url = f"http://127.0.0.1:{port}/health"
    while process.poll() is None:
        with suppress(httpx.ConnectError):
            return httpx.get(url, timeout=PATIENCE, verify=NO_TLS).is_success
        # Nothing tells when it listens: its output is closed, or is not read.
        time.sleep(0.02)
    return False


@pytest.fixture
def full_pipe() -> Iterator[IO[bytes]]:
    """The writing end of a pipe that is full and never read."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 512)
    os.set_blocking(write_end, True)
    with os.fdopen(read_end, "rb"), os.fdopen(write_end, "wb", buffering=0) as full:
        yield full


def test_a_refusal_that_is_not_read_ends_the_connection(
    directory: Path, full_pipe: IO[bytes]
) -> None:
    line = ("serve", "--port", "0", "--host", "192.0.2.1", "--data-dir", directory)
    with piped(directory.parent, line, stdout=full_pipe, stderr=full_pipe) as serving:
        assert serving.process.wait(NO_LONGER) == 1


def test_output_that_is_not_read_stops_nothing(directory: Path, full_pipe: IO[bytes]) -> None:
    port = _free_port()
    line = ("serve", "--port", str(port), "--data-dir", directory)
    with piped(directory.parent, line, stdout=full_pipe, stderr=full_pipe) as serving:
        process = serving.process
        assert _healthy(process, port)
        token = (directory / "admin.token").read_text(encoding="ascii").strip()
        with client_at(f"http://127.0.0.1:{port}", token) as client:
            assert all(client.get("/api/projects").status_code == 200 for _ in range(50))
        process.send_signal(signal.SIGTERM)
        assert process.wait(NO_LONGER) == 0


def test_it_runs_without_any_standard_file(directory: Path) -> None:
    port = _free_port()
    script = 'exec "$0" serve --port "$1" --data-dir "$2" <&- >&- 2>&-'
    with subprocess.Popen(
        ["/bin/sh", "-c", script, STRONGROOM, str(port), directory],
        cwd=directory.parent,
        env=environment(),
    ) as process:
        assert _healthy(process, port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(NO_LONGER) == 0
    assert (directory / "strongroom.db").read_bytes().startswith(b"SQLite format 3")


def test_it_alone_reads_the_file_of_its_directory(directory: Path) -> None:
    port = _free_port()
    (directory.parent / ".env").write_text(f"STRONGROOM_PORT={port}\nSTRONGROOM_DOCS=off\n")
    (directory.parent / ".env").chmod(0o600)
    with Serving(directory) as serving, serving.client() as client:
        # The flag wins; a setting without a flag comes from the file.
        assert client.get("/docs").status_code == 404
        assert serving.end() == 0
