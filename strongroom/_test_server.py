"""The server that the pytest plugin starts, and the calls for tests."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

START_SECONDS = 60.0
"""How long a start may take, on a machine that is busy with tests."""
END_SECONDS = 15.0
CALL_SECONDS = 60.0
LOG_SECONDS = 1.0
"""How long the lines of a request may take to be in the log."""
_MOST_SHOWN = 20_000
"""The bytes of the log that a message shows."""
_PREFIX = "STRONGROOM_"


class StrongroomServerError(Exception):
    """The server for tests does not start, does not answer, or refuses a call. The message says
    what to do."""


class StrongroomServer:
    """`strongroom serve` as a process of its own, with a store for tests in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Start the server. Returns when it answers. Raises `StrongroomServerError`."""
        self.data_dir = folder / "data"
        """The folder of its store."""
        self.log_path = folder / "server.log"
        """The file with its log."""
        # Neither the settings nor the modules of the program under test are the server's.
        kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        words = ["serve", "--environment", "testing", "--host", "127.0.0.1", "--port", "0"]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this package's own command
                [sys.executable, "-m", "strongroom", *words, "--data-dir", str(self.data_dir)],
                cwd=folder,
                env=kept,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.url = self._first_line().rsplit(" ", 1)[-1]
            """The address of the server, such as `http://127.0.0.1:41234`."""
            address = urlsplit(self.url)
            self._host, self._port = address.hostname or "", address.port or 0
            self._token = (self.data_dir / "testing.token").read_text("ascii").strip()
        except BaseException:
            self.kill()
            raise

    def __repr__(self) -> str:
        return f"<strongroom server for tests at {self.url}>"

    def reset(self) -> str:
        """Empty the store, and with it the clock and the faults. Returns the token of the new
        administrator. Raises `StrongroomServerError`."""
        token: str = self.call("/testing/reset")["token"]
        return token

    def call(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        method: str = "POST",
        request_id: str | None = None,
    ) -> Any:
        """What the server answers to a JSON body: of a call for tests, or of another with
        `token`. Raises `StrongroomServerError` for anything but a success."""
        # pytest would show the token.
        __tracebackhide__ = True
        headers = {"Authorization": f"Bearer {self._token if token is None else token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if request_id is not None:
            headers["X-Request-ID"] = request_id
        self.require_running()
        connection = HTTPConnection(self._host, self._port, timeout=CALL_SECONDS)
        try:
            connection.request(
                method, path, json.dumps(body) if body is not None else None, headers
            )
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            self.require_running()
            raise StrongroomServerError(
                f"{self.url} does not answer {method} {path} ({type(error).__name__}): see its "
                f"log in {self.log_path}"
            ) from None
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise StrongroomServerError(
                f"{method} {path} was refused: {_detail(answer.status, text)}"
            )
        return json.loads(text)

    def require_running(self) -> None:
        """Raises `StrongroomServerError` when the server has ended."""
        status = self._process.poll()
        if status is not None:
            raise StrongroomServerError(
                f"the server for tests has ended with status {status}: the reason is in the last "
                f"lines of its log\n{self.log()}"
            )

    def whole_log(self, start: int = 0) -> str:
        """The end of the log from this byte on, with what the server has not written yet."""
        mark = f"log-{time.monotonic_ns()}"
        with contextlib.suppress(StrongroomServerError):
            # A line of its own comes behind all others.
            self.call("/testing/faults", {}, request_id=mark)
            until = time.monotonic() + LOG_SECONDS
            while mark not in self.log(start) and time.monotonic() < until:
                time.sleep(0.01)
        lines = self.log(start).splitlines(keepends=True)
        return "".join(line for line in lines if mark not in line)

    def log(self, start: int = 0) -> str:
        """The end of the log from this byte on, as far as it is written."""
        with self.log_path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - _MOST_SHOWN))
            return file.read().decode("utf-8", "replace")

    @property
    def log_bytes(self) -> int:
        """The size of the log so far."""
        return self.log_path.stat().st_size

    def stop(self) -> None:
        """End the server in good order. Raises `StrongroomServerError` if it does not end so."""
        ended_before = self._process.poll() is not None
        self._process.terminate()
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StrongroomServerError(
                f"the server for tests did not end within {END_SECONDS:.0f} s of SIGTERM, and was "
                f"killed: the reason may be in its log\n{self.log()}"
            ) from None
        finally:
            self._close()
        if status != 0 or ended_before:
            raise StrongroomServerError(
                f"the server for tests has ended with status {status}: the reason is in the last "
                f"lines of its log\n{self.log()}"
            )

    def kill(self) -> None:
        """End the server at once."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _first_line(self) -> str:
        """The line with the URL, which the server prints when it answers."""
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it is a pipe
        line, until = b"", time.monotonic() + START_SECONDS
        while b"\n" not in line:
            ready, _, _ = select.select([output], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise StrongroomServerError(
                    f"the server for tests did not answer within {START_SECONDS:.0f} s: the reason "
                    f"may be in its log\n{self.log()}"
                )
            piece = os.read(output.fileno(), 4096)
            if not piece:
                status = self._process.wait()
                raise StrongroomServerError(
                    f"the server for tests did not start, and has ended with status {status}: try "
                    f"`{sys.executable} -m strongroom serve` in an empty folder\n{self.log()}"
                )
            line += piece
        return line.split(b"\n", 1)[0].decode()


class StrongroomClock:
    """The clock of the server: `strongroom_clock`."""

    def __init__(self, server: StrongroomServer) -> None:
        self._server = server

    def move(self, by: timedelta) -> datetime:
        """Move the clock on, or back if `by` is negative. Returns its time. What is due by then is
        done when this returns. Raises `StrongroomServerError`."""
        return self._change({"move_seconds": by.total_seconds()})

    def set(self, at: datetime) -> datetime:
        """Set the clock, from where it goes on. Raises `ValueError` for a time without a zone, and
        `StrongroomServerError`."""
        if at.tzinfo is None:
            raise ValueError("give a time with a zone, such as datetime.now(UTC)")
        return self._change({"at": at.isoformat()})

    def reset(self) -> datetime:
        """Set the clock to the real time. Raises `StrongroomServerError`."""
        return self._change({"reset": True})

    def _change(self, change: Mapping[str, Any]) -> datetime:
        return datetime.fromisoformat(self._server.call("/testing/clock", change)["now"])


class StrongroomFaults:
    """Faults of the server: `strongroom_faults`. Its methods raise `StrongroomServerError`."""

    def __init__(self, server: StrongroomServer) -> None:
        self._server = server

    def fail_next_commit(self, commits: int = 1) -> None:
        """Let the next commits of requests fail: such a request is answered 503 `database_busy`,
        and has no effect."""
        self._set(fail_next_commits=commits)

    def disk_full(self, on: bool = True) -> None:
        """Answer each request that changes something 507 `database_full`, until this is called with
        False."""
        self._set(disk_full=on)

    def lose_next_answer(self, answers: int = 1) -> None:
        """Break the connections of the next requests after they have had their effect."""
        self._set(lose_next_answers=answers)

    def slow(self, milliseconds: int) -> None:
        """Let each request wait so long before it is worked on; 0 for no wait."""
        self._set(slow_ms=milliseconds)

    def clear(self) -> None:
        """Let nothing fail any more."""
        self._set(fail_next_commits=0, disk_full=False, lose_next_answers=0, slow_ms=0)

    def _set(self, **faults: int) -> None:
        self._server.call("/testing/faults", faults)


def new_token(
    server: StrongroomServer, admin: str, scopes: Sequence[str], projects: Sequence[int] | None
) -> str:
    """A new token with these scopes, bound to `projects`, or to none. Raises
    `StrongroomServerError`."""
    __tracebackhide__ = True
    body: dict[str, Any] = {"name": "for a test", "scopes": list(scopes)}
    if projects is not None:
        body["project_ids"] = list(projects)
    token: str = server.call("/api/tokens", body, token=admin)["token"]
    return token


def _is_setting(name: str) -> bool:
    return name.upper().startswith(_PREFIX)


def _detail(status: int, text: bytes) -> str:
    """What a refusal says, with the places of wrong values."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        problem = json.loads(text)
        places = [f"{one['pointer']}: {one['message']}" for one in problem.get("errors", ())]
        return "; ".join([f"{status} {problem['code']}: {problem['detail']}", *places])
    return str(status)
