"""The measured processes: started, observed through /proc, and always ended by their ids."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 15.0
SETTLE_SECONDS = 20.0
IDLE_SECONDS = 0.02
"""A server that uses at most this much processor time in a tenth of a second counts as idle."""

_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The run can't continue. The message is one line that says what is wrong."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        return parse_cpu_seconds(Path(f"/proc/{self.pid}/stat").read_text("utf-8"))

    def main_thread_seconds(self) -> tuple[float, float]:
        """How long the main thread, which has the event loop, has run so far, and how long it has
        waited for a processor while it could have run."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text("ascii")
        ran, waited, _ = map(int, text.split())
        return ran / 1e9, waited / 1e9

    def settle(self) -> None:
        """Wait until the server has finished the requests of disconnected clients."""
        deadline = time.monotonic() + SETTLE_SECONDS
        quiet = 0
        before = self.cpu_seconds()
        while quiet < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
            now = self.cpu_seconds()
            quiet = quiet + 1 if now - before <= IDLE_SECONDS else 0
            before = now

    def memory_mib(self, field: str) -> float:
        """`VmHWM`, the peak of the resident size, or `VmRSS`, the current size."""
        return parse_memory_mib(Path(f"/proc/{self.pid}/status").read_text("utf-8"), field)

    def reset_peak(self) -> bool:
        """Reset the peak to the current size. Returns whether the kernel permits that."""
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5", "utf-8")
        except OSError:
            return False
        return True


def parse_cpu_seconds(stat: str) -> float:
    """User and system seconds from the text of `/proc/<pid>/stat`."""
    # The name may contain spaces and parentheses, so the fields start after the last parenthesis.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def parse_memory_mib(status: str, field: str) -> float:
    """A size from the text of `/proc/<pid>/status`, in MiB. Raises `KeyError` without it."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise KeyError(field)


def free_port() -> int:
    """A free port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**variables: str) -> dict[str, str]:
    """The environment of measured processes: without this shell's settings, with `variables`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("STRONGROOM_", "BENCH_"))}
    # Unbuffered, so that the log is complete at any time, also after a stop.
    return {**kept, "PYTHONUNBUFFERED": "1", **variables}


@contextmanager
def running(
    command: Sequence[str], port: int, log: Path, *, cwd: Path, env: Mapping[str, str]
) -> Iterator[Server]:
    """Start a server with `command`, and wait until it answers. It is stopped after the block.

    Its output goes to the file `log`. Raises `BenchError` when it does not start.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=dict(env),
            # A signal from the terminal reaches only this program, which stops its servers.
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, log)
        yield Server(process.pid, port)
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop a process with SIGTERM, and with SIGKILL after `STOP_SECONDS`."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"{process.args!r} ended at once: {_last_line(log)}")
        if _answers(port):
            return
        time.sleep(0.05)
    raise BenchError(f"{process.args!r} does not answer: {_last_line(log)}")


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
