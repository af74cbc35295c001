"""What the system permits this process: open files, and pictures of its memory."""

import resource
import sys

from backend.observability.log import get_logger

logger = get_logger("strongroom.limits")

OTHER_FILES = 256
"""Descriptors for what is no connection: the database's files, one for each reader, the sockets
that listen, a backup."""
_PR_SET_DUMPABLE = 4


def connections_that_fit(wanted: int) -> int:
    """How many connections the process may have open at once: `wanted`, or fewer.

    Raises the limit of open files as far as that takes and the system permits. A log line says so
    when it does not permit enough.
    """
    needed = wanted + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, needed):
        return wanted
    raised = needed if _is_enough(hard, needed) else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        # A system may know a lower limit than the one that it shows.
        raised = soft
    if raised >= needed:
        return wanted
    fitting = max(1, raised - OTHER_FILES)
    logger.warning(
        "fewer connections than STRONGROOM_MAX_CONNECTIONS: raise the limit of open files "
        "(ulimit -Hn, or LimitNOFILE= of a systemd unit)",
        connections=fitting,
        wanted=wanted,
        open_files=raised,
    )
    return fitting


def _is_enough(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed


def forbid_core_dumps(*, traceable: bool) -> None:
    """Keep keys and values out of files that a crash would leave behind.

    With a limit of 0 no file is written. Linux starts a program that is named in core_pattern all
    the same (core(5)): systemd-coredump keeps nothing at this limit, others might. A process that
    is not `traceable` is not dumped at all, and nobody but root reads its memory; but debuggers
    and strace do not reach it either, so that is for production.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not traceable and sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - commands start without it

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
