"""`strongroom run`: the signals, the exit status and the variables of a command."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from strongroom import Client
from tests.client.commands.conftest import VALUE, Command
from tests.support.processes import PATIENCE, STRONGROOM, Outcome
from tests.support.servers import RunningServer

SAY_READY = "print('ready', flush=True)"


class _Run:
    """A running `strongroom run`, and the command that it has started."""

    def __init__(
        self, project: int, env: dict[str, str], program: str, *options: str, tty: int | None = None
    ) -> None:
        words = [str(STRONGROOM), "run", "--project", str(project), *options, "--"]
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [*words, sys.executable, "-c", program],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=tty,
            text=True,
            start_new_session=tty is not None,
        )

    def line(self) -> str:
        """The next line of the command."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def finish(self) -> Outcome:
        """What is left of its output, and its status."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Outcome(self.process.returncode, out, err)


@pytest.fixture
def started() -> Iterator[list[_Run]]:
    """The runs of a test, which are ended after it."""
    runs: list[_Run] = []
    yield runs
    for one in runs:
        if one.process.poll() is None:
            one.process.kill()
        with one.process:
            pass


def test_values_are_in_the_command_s_environment_and_nowhere_else(
    project: int, variables: dict[str, str], started: list[_Run], admin: str
) -> None:
    program = (
        "import os, sys; e = os.environ; print(e['API_KEY'], repr(e['LINES']), e['_'], "
        "'STRONGROOM_TOKEN' in e, flush=True); print(os.getpid(), flush=True); sys.stdin.read()"
    )
    reader, writer = os.pipe()
    run = _Run(project, variables, program, tty=reader)
    started.append(run)
    os.close(reader)
    assert run.line() == f"{VALUE} 'a\\nb\\n' underscore False"
    child = int(run.line())
    wrapper = Path(f"/proc/{run.process.pid}")
    assert child != run.process.pid
    for shown in (wrapper / "cmdline", wrapper / "environ", Path(f"/proc/{child}/cmdline")):
        assert VALUE.encode() not in shown.read_bytes()
    own = Path(f"/proc/{child}/environ").read_bytes()
    assert VALUE.encode() in own
    assert admin.encode() not in own
    os.close(writer)
    assert run.finish() == Outcome(0, "", "")


CASES: list[tuple[Sequence[str], int]] = [
    (["sh", "-c", "exit 77"], 77),
    (["sh", "-c", "kill -9 $$"], 137),
    (["no-such-command"], 127),
    (["./plain"], 126),
]
MORE_CASES: list[tuple[Sequence[str], int]] = [
    (["sh", "-c", "exit 0"], 0),
    (["sh", "-c", "kill -15 $$"], 143),
    (["./no-such-file"], 127),
    (["./binary"], 126),
    (["./lost"], 126),
    (["./"], 126),
]


@pytest.mark.parametrize(
    ("words", "status"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.long_form) for case in MORE_CASES)],
)
def test_the_exit_status_is_that_of_the_command(
    project: int, command: Command, tmp_path: Path, words: Sequence[str], status: int
) -> None:
    for name, text, mode in (
        ("plain", "echo", 0o600),
        ("binary", "\0\0", 0o700),
        ("lost", "#!/no/such\n", 0o700),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    outcome = command("run", "--project", str(project), "--", *words)
    assert (outcome.status, outcome.out) == (status, "")
    if status in (126, 127):
        assert outcome.complaint.startswith("COMMAND: ")
    else:
        assert outcome.err == ""


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGINT,
        pytest.param(signal.SIGHUP, marks=pytest.mark.long_form),
        pytest.param(signal.SIGUSR1, marks=pytest.mark.long_form),
    ],
)
def test_a_signal_reaches_the_command_once(
    project: int, variables: dict[str, str], started: list[_Run], number: signal.Signals
) -> None:
    program = (
        "import signal\n"
        f"waited = {{{int(number)}, {int(signal.SIGUSR2)}}}\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, waited); {SAY_READY}\n"
        "print(signal.sigwait(waited), flush=True)\n"
        "print(signal.sigwait(waited), flush=True)\n"
        "raise SystemExit(5)"
    )
    run = _Run(project, variables, program)
    started.append(run)
    assert run.line() == "ready"
    run.process.send_signal(number)
    assert run.line() == str(int(number))
    # If the first one came twice, this would be the second time.
    run.process.send_signal(signal.SIGUSR2)
    assert run.finish() == Outcome(5, f"{int(signal.SIGUSR2)}\n", "")


def test_ctrl_c_at_a_terminal_reaches_the_command_once(
    project: int, variables: dict[str, str]
) -> None:
    program = (
        "import signal\n"
        f"waited = {{{int(signal.SIGINT)}, {int(signal.SIGUSR2)}}}\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, waited); {SAY_READY}\n"
        "print(signal.sigwait(waited), flush=True)\n"
        "print(signal.sigwait(waited), flush=True)\n"
    )
    main, side = pty.openpty()
    taking = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [str(STRONGROOM), "run", "--project", str(project), "--", sys.executable, "-c", program]
    process = subprocess.Popen(
        [sys.executable, "-c", taking, *words],
        env=variables,
        stdin=side,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.write(main, b"\x03")
        assert process.stdout.readline() == f"{int(signal.SIGINT)}\n"
        process.send_signal(signal.SIGUSR2)
        assert process.communicate(timeout=PATIENCE)[0] == f"{int(signal.SIGUSR2)}\n"
        assert process.returncode == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        os.close(main)
        os.close(side)


def test_only_some_values_and_the_token_are_handed_on_on_purpose(
    project: int, command: Command, admin: str
) -> None:
    line = ("run", "--project", str(project), "--only")
    shown = "echo ${API_KEY-none} ${PLAIN-none} ${STRONGROOM_TOKEN-none}"
    outcome = command(*line, "PLAIN", "--pass-token", "sh", "-c", shown)
    assert outcome == Outcome(0, f"none flour {admin}\n", "")
    missing = command(*line, "NOPE", "true")
    assert missing.complaint == "--only: the project has no secret with this key"
    assert missing.status == 1


def test_an_environment_that_is_too_large_is_one_line(
    service: RunningServer, admin: str, variables: dict[str, str]
) -> None:
    with Client(service.url, admin) as client:
        secrets = {f"LARGE_{number}": "x" * 60_000 for number in range(3)}
        large = client.projects.create(
            name="Large", github_owner="acme", github_repo="large", secrets=secrets
        )
    words = [str(STRONGROOM), "run", "--project", str(large.id), "--", "true"]
    limited = ["sh", "-c", 'ulimit -s 512 && exec "$@"', "sh", *words]
    done = subprocess.run(
        limited, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert outcome.status == 126
    assert "larger than the system permits" in outcome.complaint
    assert "60000 of them in LARGE_" in outcome.complaint


@pytest.mark.usefixtures("project")
def test_standard_input_and_output_pass_through(command: Command) -> None:
    line = ("run", "--project", "acme/bakery", "--", "od", "-An", "-tx1")
    assert command(*line, stdin=b"\0\xff\n") == Outcome(0, " 00 ff 0a\n", "")
