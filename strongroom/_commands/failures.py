"""Turns every failure into one line on standard error and an exit status."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from types import FrameType
from typing import Any

import typer

from strongroom._commands.standard_files import finish, silence
from strongroom._commands.terminal import NotWritten, printable
from strongroom._errors import ConnectionFailed, NotConfigured, StrongroomError, field_errors

FAILURE, WRONG_USE, INTERRUPTED = 1, 2, 130
_INTERRUPTED = "interrupted"

Handler = Callable[[int, FrameType | None], object]


class CommandFailed(Exception):
    """The command could not do its work. The message is one line that says what to do."""


class Interrupted(Exception):
    """The command was interrupted. The message is one line that says what state it left."""


class WrongUse(Exception):
    """The arguments contradict one another. The message is one line that says what to do."""


def guarded(command: Callable[[], object], tell: Callable[[Exception], int]) -> int:
    """Run `command` and return its exit status. Raises nothing. `tell` writes the line of an error
    and returns its status.

    Signals that end a process raise an exception in the command, so that it can clean up.
    """
    with ended_by_signals() as came:
        status = _status(command, tell)
    if came and status == INTERRUPTED:
        status = 128 + came[0]
    unwritten = finish(sys.stdout)
    # A reader that closes the pipe has seen enough.
    if unwritten is not None and not isinstance(unwritten, BrokenPipeError) and not status:
        complain(_unwritten(unwritten))
    finish(sys.stderr)
    return FAILURE if unwritten is not None and not status else status


def _status(command: Callable[[], object], tell: Callable[[Exception], int]) -> int:
    try:
        status = command()
    except BrokenPipeError:
        silence(sys.stdout)
        return FAILURE
    except (KeyboardInterrupt, Interrupted) as interruption:
        complain(str(interruption) or _INTERRUPTED)
        return INTERRUPTED
    except SystemExit as end:
        status = end.code
    except typer.TyperException as error:
        complain(_usage(error))
        return error.exit_code
    except OSError as error:
        # An error without a file name may be one of standard output.
        unwritten = finish(sys.stdout) if error.filename is None else None
        if unwritten is None:
            return tell(error)
        complain(_unwritten(unwritten))
        return FAILURE
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback for the user
        return tell(error)
    if status == INTERRUPTED:
        # Typer turns an interruption into this status.
        complain(_INTERRUPTED)
    return status if isinstance(status, int) else 0


def tell(error: Exception) -> int:
    """Write one line that explains the error of a command that talks to a service. Returns the exit
    status."""
    complain(sentence(error) or f"unexpected {type(error).__name__}: please report it")
    return WRONG_USE if is_wrong_use(error) else FAILURE


def sentence(error: BaseException) -> str | None:
    """A sentence that explains the error and says what to do; `None` for an unexpected error."""
    if isinstance(error, StrongroomError):
        return _of_the_service(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'reading or writing'}: {error.strerror}"
    known = isinstance(error, CommandFailed | WrongUse | NotWritten)
    return str(error) if known else None


def is_wrong_use(error: BaseException) -> bool:
    """Whether the command line is wrong, and not what it asks for."""
    return isinstance(error, WrongUse | NotConfigured) or _is_wrong_filter(error)


def _is_wrong_filter(error: BaseException) -> bool:
    if not isinstance(error, StrongroomError) or error.code != "validation_failed":
        return False
    pointers = [wrong.pointer for wrong in field_errors(error.problem)]
    return bool(pointers) and all(pointer.startswith("/query/") for pointer in pointers)


def _of_the_service(error: StrongroomError) -> str:
    if isinstance(error, NotConfigured):
        return str(error)
    if isinstance(error, ConnectionFailed):
        return f"the service can't be reached: {error}"
    places = [
        f"{_shown_pointer(wrong.pointer)}: {wrong.message}" for wrong in field_errors(error.problem)
    ]
    return "; ".join(places) or error.detail


def _unwritten(error: OSError) -> str:
    reason = os.strerror(error.errno or 0)
    return (
        f"standard output can't be written ({reason}): send it to a file or a pipe that accepts it"
    )


def complain(message: str) -> None:
    """Write one line to standard error, even if the message has several."""
    line = " ".join(message.split())
    try:
        print(f"strongroom: {printable(line)}", file=sys.stderr)
    except OSError:
        # There is no other place to report it.
        silence(sys.stderr)


def _shown_pointer(pointer: str) -> str:
    """A place in a request, for users of a command line."""
    if pointer.startswith("/keys/"):
        return "--only"
    return pointer.removeprefix("/query").removeprefix("/path").removeprefix("/")


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "strongroom"
    # A missing parameter has no message. The message for a wrong value is pydantic's, which
    # repeats the value.
    if isinstance(error, typer.BadParameter) and error.param is not None and error.message:
        return f"{_shown(error.param)}: {_must(error.param)}"
    return f"{error.format_message().rstrip('.')}: see {command} --help"


def _shown(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    return str(parameter.opts[0] if is_option else parameter.metavar)


def _must(parameter: Any) -> str:
    """What the value of a parameter must be."""
    kind, least, most = parameter.type_descriptor.annotation, parameter.min, parameter.max
    if kind is datetime:
        return "must be a date such as 2026-01-31"
    if kind is not int:
        return "must be text in UTF-8"
    if least is None:
        return "must be an integer"
    return f"must be an integer between {least} and {most}"


@contextmanager
def ended_by_signals() -> Iterator[list[int]]:
    """Let SIGTERM, SIGHUP and SIGQUIT interrupt the block as SIGINT does. Yields a list to which
    the received signals are added."""
    came: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise SystemExit(128 + number)
        # The current handler of SIGINT does the rest: asyncio's cancels its tasks and cleans up.
        signal.raise_signal(signal.SIGINT)

    others = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    with handled(interrupt, others), handled(signal.default_int_handler, (signal.SIGINT,)):
        yield came


@contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Let SIGINT raise `KeyboardInterrupt` at once anywhere in the block.

    asyncio's handler would only cancel the running task, but the block may wait in a read from a
    pipe without a writer. asyncio leaves a handler alone that is not Python's own.
    """
    with handled(_raise_interrupt, (signal.SIGINT,)):
        yield


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Let these signals end the process at once and silently. For a block that leaves nothing to
    clean up, and in which code such as an import could replace the exception by another one."""
    with handled(_leave, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)):
        yield


@contextmanager
def handled(handler: Handler, numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Call `handler` for these signals during the block, except for ignored signals."""
    with ExitStack() as stack:
        for number in numbers:
            # None means that Python did not set the handler, and could not restore it.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                stack.callback(signal.signal, number, signal.signal(number, handler))
        yield


def _raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
