"""The file next to the database that records the end of the audit.

After rows are removed from the end of the audit, or the database is replaced by an older one, the
remaining chain is still valid. Only a record outside the database can show the loss.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from backend.services.audit.verification import ExportedHead

_TAIL_BYTES = 64 * 1024
_MOST_ID = 2**63 - 1


class HeadsFile:
    """Reads `audit.heads`, which has a line `<id> <mac> <time>` for each exported head.

    Lines that a crash truncated are ignored. Methods raise `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def heads(self, first_bytes: int | None = None) -> Iterator[ExportedHead]:
        """All exported heads, in the order of the lines, or those in the first bytes; none if there
        is no file."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            read = 0
            for line in file:
                read += len(line)
                if first_bytes is not None and read > first_bytes:
                    return
                head = _parse(line)
                if head is not None:
                    yield head

    def newest(self) -> ExportedHead | None:
        """The head with the greatest id in the last 64 KiB of the file, or `None`."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
        heads = [head for line in lines if (head := _parse(line + b"\n"))]
        return max(heads, default=None)


def line_of(head: ExportedHead) -> bytes:
    """The line of a head."""
    return f"{head.id} {head.mac} {head.at}\n".encode()


def _parse(line: bytes) -> ExportedHead | None:
    parts = line.decode("ascii", "replace").split(" ")
    if len(parts) != 3 or not parts[2].endswith("Z\n"):
        return None
    id, mac, at = parts
    if not (id.isdigit() and len(id) <= 19 and int(id) <= _MOST_ID and len(mac) == 64):
        return None
    return ExportedHead(int(id), mac, at.rstrip("\n"))
