"""What a disk may hold when the power fails, by the system calls until then.

What is assumed of the file system, which is no more than journaling ones keep:

- what a file was given before an fsync or fdatasync of it began is there once that has returned;
  of what it was given later each write may be missing, or be there up to or from a boundary of
  512 bytes, whatever became of the others;
- what comes after a change of a file's length that is missing is missing too;
- a name in a directory lasts only when the directory was synced, whatever happened to the file;
  changes of one directory last in their order.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from tests.faults.history import Cut, Directory, File, History, Written

SECTOR = 512
FORGOTTEN = "-shm"
"""How the name of a file ends that is mapped into memory, and made anew from the others after a
crash."""


class _Spanning(Protocol):
    @property
    def began(self) -> int: ...
    @property
    def ended(self) -> int: ...


C = TypeVar("C", bound=_Spanning)


class Disk:
    """What may be left when the power fails where the line `at` of the trace begins.

    With `syncs` False, nothing was ever synced: that is how it is shown that the checks find it.
    """

    def __init__(
        self, history: History, at: int, chance: random.Random, *, syncs: bool = True
    ) -> None:
        self.torn = 0
        """Writes of which a part is there."""
        self.missing = 0
        """Changes that are not there."""
        self._history = history
        self._at = at
        self._chance = chance
        self._syncs = syncs
        # How much of what was not synced is there: nothing, everything, or something.
        self._kept = chance.choice((0.0, 0.5, 0.9, 1.0)) if syncs else 0.0

    def write(self, parent: Path) -> None:
        """Write what is left of the history's directory, under its name, to the directory
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
        """The changes that last, and those that may."""
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
