"""What a disk may hold when the power fails, derived from the system calls until then.

The assumptions about the file system are no more than journaling ones guarantee:

- writes to a file that precede the start of an fsync or fdatasync are durable once that call has
  returned; each later write may be missing, or may be there only up to or only from a boundary of
  512 bytes, independently of the others;
- when a change of a file's length is missing, all later changes of the file are missing, too;
- a name in a directory is durable only when the directory was synced, whatever happened to the
  file; changes of one directory become durable in their order.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from tests.faults.history import Cut, Directory, File, History, Written

SECTOR = 512
FORGOTTEN = "-shm"
"""The suffix of a file that is mapped into memory, and rebuilt from the others after a crash."""


class _Spanning(Protocol):
    @property
    def began(self) -> int: ...
    @property
    def ended(self) -> int: ...


C = TypeVar("C", bound=_Spanning)


class Disk:
    """What may be left when the power fails at the beginning of the trace's line `at`.

    With `syncs` False, every sync is ignored: this shows that the checks would find a loss.
    """

    def __init__(
        self, history: History, at: int, chance: random.Random, *, syncs: bool = True
    ) -> None:
        self.torn = 0
        """Writes that are there in part."""
        self.missing = 0
        """Changes that are missing."""
        self._history = history
        self._at = at
        self._chance = chance
        self._syncs = syncs
        # The share of unsynced changes that is there: none, all or some.
        self._kept = chance.choice((0.0, 0.5, 0.9, 1.0)) if syncs else 0.0

    def write(self, parent: Path) -> None:
        """Write what is left of the history's directory, under its name, into the directory
        `parent`."""
        self._write_directory(self._history.parent, parent)

    def _write_directory(self, directory: Directory, path: Path) -> None:
        sure, later = self._split(directory.changes, directory.syncs)
        kept = sum(self._chance.random() < self._kept for _ in later)
        self.missing += len(later) - kept
        found: dict[str, File | Directory] = {}
        for change in [*sure, *later[:kept]]:
            if change.node is None:
                found.pop(change.name, None)
            else:
                found[change.name] = change.node
        for name, node in found.items():
            if isinstance(node, Directory):
                (path / name).mkdir(mode=0o700)
                self._write_directory(node, path / name)
            elif not name.endswith(FORGOTTEN):
                (path / name).write_bytes(self._content(node))
                (path / name).chmod(0o600)

    def _split(
        self, changes: Sequence[C], syncs: Sequence[tuple[int, int]]
    ) -> tuple[Sequence[C], Sequence[C]]:
        """The changes that are certain to last, and those that may last."""
        done = max((began for began, ended in syncs if ended < self._at), default=0)
        if not self._syncs:
            done = 0
        sure = [change for change in changes if change.ended < done]
        later = [c for c in changes if c.ended >= done and c.began < self._at]
        return sure, later

    def _content(self, file: File) -> bytes:
        sure, later = self._split(file.changes, file.syncs)
        content = bytearray(file.before or b"")
        for change in sure:
            _apply(content, change)
        for change in later:
            if self._chance.random() < self._kept:
                _apply(content, self._torn(change))
                continue
            self.missing += 1
            if isinstance(change, Cut):
                break
        return bytes(content)

    def _torn(self, change: Written | Cut) -> Written | Cut:
        if isinstance(change, Cut) or self._chance.random() < 0.7:
            return change
        end = change.offset + len(change.data)
        first = change.offset // SECTOR + 1
        boundaries = range(first * SECTOR, end, SECTOR)
        if not boundaries:
            return change
        self.torn += 1
        middle = self._chance.choice(boundaries) - change.offset
        if self._chance.random() < 0.5:
            return Written(change.offset, change.data[:middle], change.began, change.ended)
        offset = change.offset + middle
        return Written(offset, change.data[middle:], change.began, change.ended)


def _apply(content: bytearray, change: Written | Cut) -> None:
    if isinstance(change, Cut):
        end, data = change.size, b""
        del content[end:]
    else:
        end, data = change.offset + len(change.data), change.data
    # A hole reads as zeros.
    content.extend(bytes(max(0, end - len(content))))
    if data:
        content[end - len(data) : end] = data
