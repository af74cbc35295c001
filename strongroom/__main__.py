"""The command `strongroom`, and `python -m strongroom`."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130
OF_THE_CLIENT = frozenset({"login", "logout", "logs", "projects", "run", "runs", "secrets"})
"""The commands that talk to a running service."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def main() -> int:
    """Run the command line of this process. Returns the exit status.

    A signal while modules are loaded, or after the command, ends the process silently with 128
    plus its number, since there is nothing to clean up.
    """
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN or _is_answered_anyway(number):
            signal.signal(number, _leave)
    # Imported after the signals are set, and the server's modules after its folder is on the path.
    from strongroom._commands.standard_files import prepare_standard_files  # noqa: PLC0415

    # Some modules use the standard files when they are imported.
    prepare_standard_files()
    # The import takes half a second, and garbage collection would make it slower.
    gc.disable()
    run = _client() if sys.argv[1:2] and sys.argv[1] in OF_THE_CLIENT else _whole()
    gc.enable()
    try:
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        # Without this, a useless last garbage collection takes a third of a short command's time.
        gc.freeze()


def _client() -> Callable[[], int]:
    """The commands that talk to a service, without the server."""
    from strongroom._commands.app import main as run  # noqa: PLC0415

    return run


def _whole() -> Callable[[], int]:
    from strongroom._own_modules import find_own_modules_first  # noqa: PLC0415

    find_own_modules_first()
    from backend.cli import main as run  # noqa: PLC0415

    return run


def _is_answered_anyway(number: signal.Signals) -> bool:
    """Whether the signal ends a server even if it was ignored at the start, as background jobs of
    shells are started.

    SIGHUP does not, because nohup ignores it on purpose.
    """
    return sys.argv[1:2] == ["serve"] and number != signal.SIGHUP


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
