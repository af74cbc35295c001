"""Reading the index file of an open write-ahead log: the length of the log, and how much of it
checkpoints of any process have copied into the database.

The format is SQLite's WAL-index format, unchanged since 3.7.0.
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
    """The state of the index at one moment."""

    salts: bytes
    """They change whenever the log restarts from its beginning."""
    log_bytes: int
    """The log has at least this many bytes; 0 while it has no valid frames."""
    copied: int
    """The number of frames that checkpoints have copied."""
    to_copy: int
    """The number of frames that the last checkpoint copies; more than `copied` while it runs."""
    frame_bytes: int
    """The size of a frame: a page and its header."""

    def was_copied_since(self, earlier: "IndexState") -> bool:
        """Whether a checkpoint wrote the database after the `earlier` state."""
        if self.salts == earlier.salts:
            return (self.copied, self.to_copy) != (earlier.copied, earlier.to_copy)
        # After a log was copied completely, the next commit restarts it from its beginning. That
        # changes the salts, but does not write the database.
        rest = earlier.log_bytes - LOG_HEAD_BYTES - earlier.copied * earlier.frame_bytes
        return self.to_copy > 0 or rest > 0


class LogIndex:
    """Reads the index of a database that this process has open.

    A process that closes a file loses all its locks on it, including those of SQLite's connections.
    So the file stays open until `close()`. Call that after the connections are closed.
    """

    def __init__(self, path: Path) -> None:
        """Raises `OSError` when the file can't be read."""
        self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> IndexState | None:
        """The state; `None` when the file has no consistent state."""
        for _ in range(_ATTEMPTS):
            if self._descriptor is None:
                return None
            content = os.pread(self._descriptor, _BYTES, 0)
            # The header is stored twice, so that a reader detects an unfinished write.
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
    # A page size of 65536 does not fit, and is stored as 1.
    frame_bytes = FRAME_HEAD_BYTES + (page & 0xFE00) + ((page & 1) << 16)
    log_bytes = LOG_HEAD_BYTES + frames * frame_bytes if frames else 0
    return IndexState(salts, log_bytes, copied, to_copy, frame_bytes)
