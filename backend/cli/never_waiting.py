"""A server's output, which may be a pipe that nobody reads."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

from backend.observability.log_output import LineStream, LogOutput


@contextmanager
def never_waiting() -> Iterator[None]:
    """Let standard output and error take lines in the block without waiting for who reads them.

    The end of the block waits for a moment. What nobody has read until then is given up, and so is
    what is said after it: it would wait behind the rest.
    """
    with ExitStack() as stack:
        for name, title in (("stdout", "standard output"), ("stderr", "standard error")):
            stream: TextIO = getattr(sys, name)
            try:
                descriptor = stream.fileno()
            except OSError:
                # A stream in memory never lets anybody wait.
                continue
            is_log = name == "stderr"
            # Those who read a log as JSON read UTF-8, whatever the terminal's encoding is.
            encoding = "utf-8" if is_log and not stream.isatty() else stream.encoding
            output = LogOutput(descriptor, title, has_log=is_log)
            output.start()
            setattr(sys, name, LineStream(output, descriptor, encoding))
            stack.callback(_give_back, name, stream, output)
        yield


def _give_back(name: str, stream: TextIO, output: LogOutput) -> None:
    if output.close():
        setattr(sys, name, stream)
