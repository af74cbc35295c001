"""Which processes hold locks on a file, as far as the system tells."""

import os
from pathlib import Path

_LOCKS = Path("/proc/locks")


def lock_holders(path: Path) -> list[int]:
    """Ids of the other processes with a POSIX lock on the file, which every connection of SQLite
    has on its database and, while it reads, on the log's index.

    Empty where the system has no list of locks or shows nothing of other processes.
    """
    try:
        status = path.stat()
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found = set()
    for line in lines:
        # 1: POSIX  ADVISORY  READ 1234 fe:00:2149964 128 128
        fields = line.split()
        if len(fields) == 8 and fields[1] == "POSIX" and fields[5] == file:
            found.add(int(fields[4]))
    # A process that another container has is shown as 0 or less.
    return sorted(pid for pid in found if pid > 0 and pid != os.getpid())
