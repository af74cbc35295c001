"""The index of an open write-ahead log, as it stands in its file: how far the log goes, and how
much of it was copied into the database, by whichever process.

The form is SQLite's WAL-index format, the same since 3.7.0.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

LOG_HEAD_BYTES = 32
FRAME_HEAD_BYTES = 24

_VERSION = 3007000
_HEADER = struct.Struct("=I8xBBHI12x8s8x")
_CHECKPOINT = struct.Struct("=I28xI")
_BYTES = 2 * _HEADER.size + _CHECKPOINT.size
_ATTEMPTS = 5


class IndexState(NamedTuple):
    """What the index says at one moment."""

    salts: bytes
    """They change whenever the log starts from its beginning again."""
    log_bytes: int
    """The log has at least as many bytes; 0 while it has no frames that count."""
    copied: int
    """Frames that checkpoints have copied."""
    to_copy: int
    """Frames that the last checkpoint is to copy: more than `copied` while it runs."""
    frame_bytes: int
    """A page and what the log says of it."""

    def was_copied_since(self, earlier: "IndexState") -> bool:
        """Whether a checkpoint wrote the database after the `earlier` state."""
        if self.salts == earlier.salts:
            return (self.copied, self.to_copy) != (earlier.copied, earlier.to_copy)
        # After a log was copied whole, the next commit starts from its beginning: that changes the
        # salts, and writes no database.
        rest = earlier.log_bytes - LOG_HEAD_BYTES - earlier.copied * earlier.frame_bytes
        return self.to_copy > 0 or rest > 0


class LogIndex:
    """Reads the index of a database that this process has open.

    A process that closes a file loses all its locks on it, those of SQLite's connections too: so
    the file stays open until `close()`, which is for the time when they are closed.
    """

    def __init__(self, path: Path) -> None:
        """Raises `OSError` when the file can't be read."""
        self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> IndexState | None:
        """The state; `None` when the file has none that is whole."""
        for _ in range(_ATTEMPTS):
            if self._descriptor is None:
                return None
            content = os.pread(self._descriptor, _BYTES, 0)
            # It is written twice, so that one is seen that is being written.
            first, second = content[: _HEADER.size], content[_HEADER.size : 2 * _HEADER.size]
            if len(content) == _BYTES and first == second:
                return _state(content)
        return None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _state(content: bytes) -> IndexState | None:
    version, is_made, _, page, frames, salts = _HEADER.unpack_from(content)
    copied, to_copy = _CHECKPOINT.unpack_from(content, 2 * _HEADER.size)
    if version != _VERSION or not is_made:
        return None
    # 65536 does not fit, and is written as 1.
    frame_bytes = FRAME_HEAD_BYTES + (page & 0xFE00) + ((page & 1) << 16)
    log_bytes = LOG_HEAD_BYTES + frames * frame_bytes if frames else 0
    return IndexState(salts, log_bytes, copied, to_copy, frame_bytes)
