"""The command `strongroom`, and `python -m strongroom`."""

import gc
import os
import signal
import sys
from types import FrameType

from backend.standard_files import prepare_standard_files

INTERRUPTED = 130
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def main() -> int:
    """Run the command line of this process; its exit status.

    A signal that comes while the modules are loaded, or after the command, ends the process
    without a word and with 128 and its number: there is nothing to put in order then.
    """
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN or _is_answered_anyway(number):
            signal.signal(number, _leave)
    # Some modules look at these files when they are loaded.
    prepare_standard_files()
    # It takes half a second, and would be longer with looks for garbage in between.
    gc.disable()
    from backend.cli import main as run  # noqa: PLC0415

    gc.enable()
    try:
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        # The end of the interpreter looks for garbage as well, in vain: a third of a short command.
        gc.freeze()


def _is_answered_anyway(number: signal.Signals) -> bool:
    """Whether it ends a server that was started with it ignored, as shells do in the background.

    Not SIGHUP, which nohup has ignored on purpose.
    """
    return sys.argv[1:2] == ["serve"] and number != signal.SIGHUP


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
