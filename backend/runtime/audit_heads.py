"""The file next to the database that records the end of the audit.

After rows are removed from the end of the audit, or the database is replaced by an older one, the
remaining chain is still valid. Only a record outside the database can show the loss.
"""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from backend.observability.log import get_logger
from backend.repositories.audit_repository import AuditHead
from backend.services.audit.audit import Audit
from backend.services.audit.verification import ExportedHead
from database.base import time_text

_TAIL_BYTES = 64 * 1024

logger = get_logger("strongroom.audit")


class HeadsFile:
    """`audit.heads`: an append-only file with a line `<id> <mac> <time>` for each export.

    Lines that a crash truncated are ignored. Methods raise `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, head: ExportedHead) -> None:
        """Add a line, which is durable before this returns."""
        line = f"{head.id} {head.mac} {head.at}\n".encode()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        if not size:
            _sync_directory(self.path.parent)

    def heads(self) -> Iterator[ExportedHead]:
        """All exported heads, in the order of the lines; none if there is no file."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
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


class HeadsExport:
    """Writes the audit's head to the file when the head has changed."""

    def __init__(self, file: HeadsFile, audit: Audit) -> None:
        self._file = file
        self._audit = audit
        self._last: AuditHead | None = None

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    async def compare(self) -> None:
        """Report, in the log and in the audit, when exported entries are missing.

        Raises `OSError` and `DatabaseError`.
        """
        newest = await asyncio.to_thread(self._file.newest)
        if newest is None:
            return
        problem = await self._audit.find_loss(newest)
        if problem is None:
            self._last = AuditHead(newest.id, newest.mac)
            return
        logger.error(
            "the audit has lost entries, and the database the changes they record: find out what "
            "happened, restore a backup if necessary, and move the file away to go on without them",
            file=str(self.path),
            problem=str(problem),
        )

    async def export(self) -> None:
        """Append the head if it has changed since the last export.

        Raises `OSError` and `DatabaseError`.
        """
        head = await self._audit.head()
        if head is None or head == self._last:
            return
        exported = ExportedHead(head.id, head.mac, time_text(self._audit.clock()))
        await asyncio.to_thread(self._file.append, exported)
        self._last = head


def _parse(line: bytes) -> ExportedHead | None:
    parts = line.decode("ascii", "replace").split(" ")
    if len(parts) != 3 or not parts[2].endswith("Z\n"):
        return None
    id, mac, at = parts
    if not (id.isdigit() and len(id) <= 19 and len(mac) == 64):
        return None
    return ExportedHead(int(id), mac, at.rstrip("\n"))


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
