"""Writes `audit.heads`: the lines that `HeadsFile` reads."""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from backend.observability.log import get_logger
from backend.repositories.audit_repository import AuditHead
from backend.runtime.audit_heads import HeadsFile, line_of
from backend.services.audit.verification import ExportedHead
from database.base import Clock, time_text
from database.sqlite.backup import sync

logger = get_logger("strongroom.audit")

REWRITE_BYTES = 2**20
"""The size from which on the file is rewritten without the lines that can be spared."""

KEPT_BYTES = 2**18
"""The bytes at the end of the file that are never rewritten."""

Spared = Callable[[Iterable[ExportedHead]], Iterable[ExportedHead]]
"""Returns the heads that must stay, in their order."""


class HeadsWriter:
    """Adds heads to the file, which it keeps open. Any thread may call it.

    The file may be removed, replaced or changed at any time; then the newest head is written again.
    Methods raise `OSError`.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._left: list[int] = []
        """Descriptors of replaced files. Another thread may be syncing one of them."""
        self._state = (0, 0, 0)
        """The file as it was left: device, inode and size."""
        self._is_ragged = False
        """Whether the last line is cut short."""
        self._newest: AuditHead | None = None
        """The last head that was added."""
        self._is_dirty = False
        """Whether lines were added that are not durable yet."""
        self._is_new = False
        """Whether the file's name may not be durable yet."""
        self._rewrite_at = REWRITE_BYTES

    def begin(self, newest: AuditHead) -> None:
        """The file's last head, known from reading it. It needs no second line."""
        with self._lock:
            self._newest = newest

    def keep(self, heads: Iterable[AuditHead]) -> None:
        """Add a line for each head, unless it is the last one that was added. The lines outlast the
        process; `sync` makes them durable."""
        with self._lock:
            self._have_open()
            for head in heads:
                if head != self._newest:
                    self._add(head)

    def sync(self) -> None:
        """Make all lines durable."""
        with self._lock:
            self._close_left()
            descriptor, is_dirty, is_new = self._descriptor, self._is_dirty, self._is_new
            self._is_dirty = self._is_new = False
        if descriptor is None or not is_dirty:
            return
        try:
            os.fsync(descriptor)
            if is_new:
                sync(Path(os.path.realpath(self.path)).parent)
        except OSError:
            with self._lock:
                self._is_dirty = True
                self._is_new = self._is_new or is_new
                # What the failed sync did not write may be gone from the cache, too.
                self._newest = None
            raise

    def rewrite_if_due(self, spared: Spared) -> None:
        """Rewrite a file above `REWRITE_BYTES` with its last `KEPT_BYTES` and the heads before them
        that `spared` leaves. At every moment, also after a loss of power, the file has its last
        durable line. Raises what `spared` raises."""
        with self._lock:
            device, inode, size = self._state
            if self._descriptor is None or size < self._rewrite_at:
                return
        path = Path(os.path.realpath(self.path))  # It may be a link to a file on another disk.
        new = path.with_name(f"{path.name}.new")
        try:
            # Left by a process that was killed.
            new.unlink(missing_ok=True)
            with os.fdopen(_new_file(new, path.stat()), "wb") as file:
                self._write_spared(file, path, size, spared)
                with self._lock:
                    self._rewrite_at = max(REWRITE_BYTES, 2 * file.tell())
                    if self._is_changed(device, inode):
                        return
                    # Lines that were added since.
                    file.write(os.pread(self._descriptor, self._state[2] - size, size))
                    _sync_file(file)
                    new.rename(path)
                    self._close()
                    self._is_new = self._is_dirty = True
        finally:
            new.unlink(missing_ok=True)

    @staticmethod
    def _write_spared(file: BinaryIO, path: Path, size: int, spared: Spared) -> None:
        with path.open("rb") as old:
            old.seek(size - KEPT_BYTES)
            old.readline()
            begin = old.tell()
            file.writelines(map(line_of, spared(HeadsFile(path).heads(begin))))
            file.write(old.read(size - begin))
        _sync_file(file)

    def close(self) -> None:
        """Close the file. Later calls open it again."""
        with self._lock:
            self._close()
            self._close_left()

    def _have_open(self) -> None:
        if self._descriptor is not None:
            change = self._change()
            if change is None:
                return
            logger.warning(
                "audit.heads was changed by another program: its newest head is written again; put "
                "the earlier lines back unless they were moved away on purpose",
                file=str(self.path),
                what=change,
            )
            self._close()
            self._newest = None
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, 0o600)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not an ordinary file")
        size = status.st_size
        self._descriptor = descriptor
        self._state = status.st_dev, status.st_ino, size
        self._is_ragged = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        self._is_dirty = True
        if size == 0:
            self._newest = None
            self._is_new = True

    def _is_changed(self, device: int, inode: int) -> bool:
        """Whether the file is another one now, or was changed since the last call."""
        is_same = self._descriptor is not None and self._state[:2] == (device, inode)
        return not is_same or self._change() is not None

    def _change(self) -> str | None:
        """What has happened to the file since the last call; `None` if nothing has."""
        device, inode, size = self._state
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return "removed"
        if (status.st_dev, status.st_ino) != (device, inode):
            return "replaced"
        if status.st_size == size:
            return None
        return "shortened" if status.st_size < size else "changed"

    def _add(self, head: AuditHead) -> None:
        assert self._descriptor is not None  # noqa: S101 - `_have_open` opened it
        line = line_of(ExportedHead(head.id, head.mac, time_text(self._clock())))
        if self._is_ragged:
            line = b"\n" + line
        self._is_dirty = True
        written = os.write(self._descriptor, line)
        device, inode, size = self._state
        self._state = device, inode, size + written
        self._is_ragged = written != len(line)
        if self._is_ragged:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._newest = head

    def _close(self) -> None:
        if self._descriptor is not None:
            self._left.append(self._descriptor)
            self._descriptor = None

    def _close_left(self) -> None:
        while self._left:
            os.close(self._left.pop())


def _new_file(path: Path, like: os.stat_result) -> int:
    """A new file at `path` that those can read who can read the one `like` describes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
    return descriptor


def _sync_file(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
