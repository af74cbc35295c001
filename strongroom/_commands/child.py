"""A command that is run with other variables, as if it had been run by itself."""

import errno
import os
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

NOT_EXECUTABLE, NOT_FOUND = 126, 127
_FORWARDED = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGWINCH,
)
_FROM_THE_KERNEL = 0x80
"""`si_code` of a signal that the kernel sends, such as for a key of the terminal."""


class NotRun(Exception):
    """The command can't be run. The message is one line, and `status` what shells end with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def run_to_end(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command, and return its exit status; 128 plus the number of the signal that ended it.
    Raises `NotRun`.

    It shares this process's group, terminal and standard files, and gets the signals that this
    process gets. They stay blocked in this process, which ends after its command.
    """
    program = _found(command[0], environment.get("PATH", os.defpath))
    # An ignored SIGCHLD would take the exit status away.
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    waited_for = {*_FORWARDED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        child = os.posix_spawn(
            program,
            [*command],
            environment,
            setsigmask=before,
            # Python ignores these two.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _refuse(error, environment)
    while True:
        number, by_terminal = _next_signal(waited_for)
        if number != signal.SIGCHLD:
            if not by_terminal:
                # It was not reaped yet, so that the number is still its own.
                os.kill(child, number)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _next_signal(waited_for: set[signal.Signals]) -> tuple[int, bool]:
    """The next signal, and whether the whole group of the terminal got it, and so the child."""
    if sys.platform == "darwin":
        number = signal.sigwait(waited_for)
        return number, number in (signal.SIGINT, signal.SIGQUIT) and _is_in_foreground()
    came = signal.sigwaitinfo(waited_for)
    return came.si_signo, came.si_code == _FROM_THE_KERNEL


def _is_in_foreground() -> bool:
    """Whether this process is the one that keys of its terminal interrupt."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _found(command: str, path: str) -> str:
    """The file of a command, as shells find it."""
    if not command:
        raise NotRun("COMMAND: is empty", NOT_FOUND)
    has_folder = "/" in command
    places = [command] if has_folder else [f"{one or '.'}/{command}" for one in path.split(":")]
    exists = False
    for place in places:
        try:
            is_file = stat.S_ISREG(Path(place).stat().st_mode)
        except (OSError, ValueError):
            continue
        exists = exists or is_file or has_folder
        if is_file and os.access(place, os.X_OK):
            return place
    if exists:
        raise NotRun("COMMAND: it is no file that you may execute", NOT_EXECUTABLE)
    raise NotRun("COMMAND: there is no such command", NOT_FOUND)


def _refuse(error: OSError, environment: Mapping[str, str]) -> NoReturn:
    match error.errno:
        case errno.E2BIG:
            sizes = {key: len(os.fsencode(value)) for key, value in environment.items()}
            largest = max(sizes, key=lambda key: sizes[key])
            reason = (
                f"the environment is larger than the system permits ({sum(sizes.values())} bytes, "
                f"{sizes[largest]} of them in {largest}): choose secrets with --only"
            )
        case errno.ENOEXEC:
            reason = "COMMAND: the system can't run this file; a script needs a first line with #!"
        case errno.ENOENT:
            reason = "COMMAND: the program in its first line (#!) does not exist"
        case _:
            reason = f"COMMAND: {error.strerror}"
    raise NotRun(reason, NOT_EXECUTABLE) from None
