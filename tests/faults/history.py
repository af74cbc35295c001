"""What a process did to a directory and what it answered, read from its system calls."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.faults.trace import NEVER, Call, UnreadableTrace

_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\n]*\n(?:[^\n]+\n)*?x-request-id: ([^\r]+)\r")
_SENDING = frozenset({"write", "writev", "sendto", "sendmsg"})
_SYNCING = frozenset({"fsync", "fdatasync"})


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes that were written at a position of a file."""

    offset: int
    data: bytes
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A change of a file's length."""

    size: int
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Named:
    """From now on a name in a directory refers to this node, or to nothing."""

    name: str
    node: "File | Directory | None"
    began: int
    ended: int


@dataclass(slots=True, eq=False)
class File:
    """The changes of one file."""

    changes: list[Written | Cut] = field(default_factory=list)
    syncs: list[tuple[int, int]] = field(default_factory=list)
    """The lines of the trace where each sync began and ended."""
    size: int = 0
    before: bytes | None = None
    """The durable content before the first call; `None` for a file that was created later."""


@dataclass(slots=True, eq=False)
class Directory:
    """The changes of one directory."""

    changes: list[Named] = field(default_factory=list)
    syncs: list[tuple[int, int]] = field(default_factory=list)
    now: dict[str, "File | Directory"] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    file: File
    path: str
    position: int | None
    """`None` for a file opened with `O_APPEND`."""


class History:
    """What the calls of one process did to the directory `root`, and what it answered.

    `before` is a copy of the directory as it was before the first call; without it the directory
    did not exist.
    """

    def __init__(self, root: Path, calls: Iterable[Call], before: Path | None = None) -> None:
        self.answers: dict[str, tuple[int, int]] = {}
        """By the request's id: the status, and the line where sending it began."""
        self.parent = Directory()
        """The directory that contains `root`."""
        self._root = PurePosixPath(root)
        self._open: dict[int, _Open] = {}
        self.length = 0
        if before is not None:
            _add(self.parent, before, root.name)
        for call in calls:
            self.length = max(self.length, call.began + 1)
            if call.result >= 0:
                self._note(call)

    @property
    def first(self) -> int:
        """The line where `root` was created."""
        return self.parent.changes[0].began

    def _note(self, call: Call) -> None:
        if call.name in ("openat", "open", "creat"):
            self._opened(call)
        elif call.name in _SYNCING:
            self._synced(call)
        elif call.name in ("pwrite64", "ftruncate") or call.name in _SENDING:
            self._changed(call)
        elif call.name in ("mkdir", "mkdirat"):
            self._rename(call, None, call.paths[-1], Directory())
        elif call.name in ("unlink", "unlinkat", "rmdir"):
            self._rename(call, call.paths[-1], None, None)
        elif call.name in ("rename", "renameat", "renameat2"):
            old, new = call.paths
            self._rename(call, old, new, None)
        elif any(self._is_ours(path) for path in call.paths):
            raise UnreadableTrace(f"nothing is known of {call.name} on a file")

    def _is_ours(self, path: str) -> bool:
        return PurePosixPath(path).is_relative_to(self._root)

    def _directory(self, path: PurePosixPath) -> Directory | None:
        """The directory at this path; `None` if there is no directory, or if it is outside of
        `root`."""
        if path == self._root.parent:
            return self.parent
        if not path.is_relative_to(self._root):
            return None
        above = self._directory(path.parent)
        node = above.now.get(path.name) if above is not None else None
        return node if isinstance(node, Directory) else None

    def _rename(
        self,
        call: Call,
        old: str | None,
        new: str | None,
        node: File | Directory | None,
    ) -> None:
        """Remove a name, add one, or both."""
        if old is not None and self._is_ours(old):
            place = PurePosixPath(old)
            above = self._directory(place.parent)
            assert above is not None, old
            node = above.now.pop(place.name)
            above.changes.append(Named(place.name, None, call.began, call.ended))
        if new is not None and self._is_ours(new):
            place = PurePosixPath(new)
            above = self._directory(place.parent)
            assert above is not None, new
            assert node is not None, new
            above.now[place.name] = node
            above.changes.append(Named(place.name, node, call.began, call.ended))

    def _opened(self, call: Call) -> None:
        path = call.paths[-1]
        if not self._is_ours(path):
            self._open.pop(call.result, None)
            return
        place = PurePosixPath(path)
        above = self._directory(place.parent)
        node = above.now.get(place.name) if above is not None else None
        if node is None and "O_CREAT" in call.text:
            node = File()
            self._rename(call, None, path, node)
        if not isinstance(node, File):
            # It is a directory: a sync finds it by its path.
            self._open.pop(call.result, None)
            return
        if "O_TRUNC" in call.text and node.size:
            node.changes.append(Cut(0, call.began, call.ended))
            node.size = 0
        position = None if "O_APPEND" in call.text else 0
        self._open[call.result] = _Open(node, path, position)

    def _known(self, call: Call) -> _Open | None:
        number, path = call.descriptor
        if not self._is_ours(path):
            return None
        known = self._open.get(number)
        if known is None or known.path != path:
            known = self._opened_before(path)
        if known is None:
            raise UnreadableTrace(f"no call opened {path} as {number}")
        return known

    def _opened_before(self, path: str) -> _Open | None:
        """A file that existed, and was open, before the first call."""
        place = PurePosixPath(path)
        above = self._directory(place.parent)
        node = above.now.get(place.name) if above is not None else None
        if not isinstance(node, File) or node.before is None:
            return None
        return _Open(node, path, None)

    def _synced(self, call: Call) -> None:
        path = PurePosixPath(call.descriptor[1])
        directory = self._directory(path)
        if directory is not None:
            directory.syncs.append((call.began, call.ended))
        elif (known := self._known(call)) is not None:
            known.file.syncs.append((call.began, call.ended))

    def _changed(self, call: Call) -> None:
        known = self._known(call)
        if known is None:
            self._sent(call)
            return
        file = known.file
        if call.name == "ftruncate":
            file.size = call.number(-1)
            file.changes.append(Cut(file.size, call.began, call.ended))
            return
        data = call.data if call.ended == NEVER else call.data[: call.result]
        if call.name == "pwrite64":
            offset = call.number(-1)
        else:
            offset = file.size if known.position is None else known.position
            if known.position is not None:
                known.position += len(data)
        file.size = max(file.size, offset + len(data))
        file.changes.append(Written(offset, data, call.began, call.ended))

    def _sent(self, call: Call) -> None:
        if call.name in _SENDING:
            for status, request_id in _ANSWER.findall(call.data):
                self.answers[request_id.decode("ascii")] = (int(status), call.began)


def _add(above: Directory, path: Path, name: str) -> None:
    """Note that this path was durably in the directory before the first call."""
    node: File | Directory
    if path.is_dir():
        node = Directory()
        for inner in path.iterdir():
            _add(node, inner, inner.name)
    else:
        content = path.read_bytes()
        node = File(size=len(content), before=content)
    above.now[name] = node
    above.changes.append(Named(name, node, -1, -1))
