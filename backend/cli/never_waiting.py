"""Output of a server that never waits, even if it is a pipe without a reader."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

from backend.observability.log_output import LineStream, LogOutput


@contextmanager
def never_waiting() -> Iterator[None]:
    """Let standard output and error accept lines during the block without waiting for the reader.

    The end of the block waits for a moment. Lines that are unread by then are dropped, and so are
    later lines, which would have to wait for them.
    """
    with ExitStack() as stack:
        for name, title in (("stdout", "standard output"), ("stderr", "standard error")):
            stream: TextIO = getattr(sys, name)
            try:
                descriptor = stream.fileno()
            except OSError:
                # A stream in memory never waits.
                continue
            is_log = name == "stderr"
            # Programs that read a JSON log expect UTF-8, whatever the terminal's encoding is.
            encoding = "utf-8" if is_log and not stream.isatty() else stream.encoding
            output = LogOutput(descriptor, title, has_log=is_log)
            output.start()
            setattr(sys, name, LineStream(output, descriptor, encoding))
            stack.callback(_give_back, name, stream, output)
        yield


def _give_back(name: str, stream: TextIO, output: LogOutput) -> None:
    if output.close():
        setattr(sys, name, stream)
