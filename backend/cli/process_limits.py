"""Sets system limits of this process: open files and core dumps."""

import resource
import sys

from backend.observability.log import get_logger

logger = get_logger("strongroom.limits")

OTHER_FILES = 256
"""Descriptors for everything but connections: the database's files, one for each reader, the
listening sockets, a backup."""
_PR_SET_DUMPABLE = 4


def connections_that_fit(wanted: int) -> int:
    """The number of connections that the process may have open at once: `wanted`, or fewer.

    Raises the limit of open files as far as necessary and permitted. If the system does not permit
    enough, logs a warning.
    """
    needed = wanted + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, needed):
        return wanted
    raised = needed if _is_enough(hard, needed) else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        # A system may have a lower limit than the one it reports.
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
    """Keep keys and values out of core dumps.

    With a limit of 0 no file is written. Linux still starts a program named in core_pattern
    (core(5)): systemd-coredump stores nothing at this limit, but others might. A process that is
    not `traceable` is never dumped, and only root can read its memory. Debuggers and strace can't
    attach to it either, so this is for production.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not traceable and sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - commands start without it

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
