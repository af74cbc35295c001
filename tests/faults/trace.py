"""Reads strace's output of a process: its system calls, in the order in which they ended."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CALLS = (
    *("?open", "openat", "?creat", "?mkdir", "mkdirat", "?unlink", "unlinkat", "?rmdir"),
    *("?rename", "renameat", "renameat2", "?link", "linkat"),
    *("pwrite64", "pwritev", "?pwritev2", "write", "writev", "sendto", "sendmsg"),
    *("ftruncate", "truncate", "fallocate", "?sendfile", "?copy_file_range"),
    *("fsync", "fdatasync", "?sync_file_range", "sync", "syncfs"),
)
"""Every call that changes a file or a directory, makes it durable, or sends to a client. Calls with
a question mark don't exist on every machine."""

STRACE_OPTIONS = (
    # Complete strings in hexadecimal, and the path of each descriptor.
    *("-f", "-qq", "-y", "-xx", "-s", "100000000"),
    # Other calls run at full speed.
    "--seccomp-bpf",
    *("-e", "signal=none", "-e", f"trace={','.join(CALLS)}"),
)
"""The options of strace that `read_trace` requires."""

ATTACHED_OPTIONS = (
    *("-f", "-y", "-xx", "-s", "100000000", "--quiet=exit,path-resolution,personality"),
    *("-e", "signal=none", "-e", f"trace={','.join(CALLS)}"),
)
"""The same for a running process: strace reports that it is attached, and can't use seccomp."""

NEVER = 1 << 62
"""The end of a call that did not return."""

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))", re.DOTALL)
_UNFINISHED = re.compile(r"(.*?),? <unfinished \.\.\.>")
_RESULT = re.compile(r"(.*)\) += (-?\d+|\?)(?:<[^>]*>)?(?: .*)?", re.DOTALL)
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_DESCRIPTOR = re.compile(r"(?:AT_FDCWD|(\d+))<((?:\\x[0-9a-f]{2})*)>(?:\(deleted\))?")
_NUMBER = re.compile(r"-?\d+")


class UnreadableTrace(Exception):
    """A line has an unexpected form, so the trace proves nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """One system call."""

    name: str
    text: str
    """Its arguments, as strace prints them."""
    result: int
    """Its result; 0 if it did not return."""
    began: int
    """The number of the line where it began; `ended` is the line where it ended."""
    ended: int

    @property
    def descriptor(self) -> tuple[int, str]:
        """The number and the path of the descriptor in the first argument."""
        match = _DESCRIPTOR.match(self.text)
        if match is None:
            raise UnreadableTrace(f"{self.name} without a descriptor: {self.text[:80]}")
        return int(match[1] or -1), _decoded(match[2]).decode()

    @property
    def data(self) -> bytes:
        """All strings joined: the data that a call wrote."""
        strings = _STRING.findall(self.text)
        if any(cut for _, cut in strings):
            raise UnreadableTrace(f"{self.name} shows a part of its data only")
        return b"".join(_decoded(text) for text, _ in strings)

    @property
    def paths(self) -> list[str]:
        """The paths among its arguments, each relative to the directory before it, if any."""
        paths: list[str] = []
        directory = "/"
        for part in re.finditer(f"{_DESCRIPTOR.pattern}|{_STRING.pattern}", self.text):
            if part[0].startswith('"'):
                paths.append(str(PurePosixPath(directory, _decoded(part[3]).decode())))
            else:
                directory = _decoded(part[2]).decode()
        return paths

    def number(self, index: int) -> int:
        """The `index`-th argument among the numbers, without strings and descriptors."""
        bare = _DESCRIPTOR.sub("", _STRING.sub("", self.text))
        return int(_NUMBER.findall(bare)[index])


def read_trace(path: Path) -> Iterator[Call]:
    """The calls of a trace, in the order of their ends; those without an end come last.

    A thread continues only after its call's end is recorded, so all effects of a call come later in
    the trace. Raises `UnreadableTrace`.
    """
    with path.open(encoding="ascii") as lines:
        yield from parse_trace(lines)


def parse_trace(lines: Iterable[str]) -> Iterator[Call]:
    """The calls in these lines; see `read_trace`."""
    begun: dict[str, tuple[str, str, int]] = {}
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line.rstrip("\n"))
        if match is None:
            raise UnreadableTrace(f"line {number + 1}: {line[:80]}")
        thread, resumed, rest, name, text = match.groups()
        began = number
        if resumed is not None:
            if thread not in begun or begun[thread][0] != resumed:
                raise UnreadableTrace(f"line {number + 1}: {resumed} goes on and never began")
            name, head, began = begun.pop(thread)
            text = head + rest
        elif unfinished := _UNFINISHED.fullmatch(text):
            begun[thread] = (name, unfinished[1], number)
            continue
        done = _RESULT.fullmatch(text)
        if done is None:
            raise UnreadableTrace(f"line {number + 1}: {line[:80]}")
        if done[2] == "?":
            yield Call(name, done[1], 0, began, NEVER)
        else:
            yield Call(name, done[1], int(done[2]), began, number)
    for name, text, began in begun.values():
        yield Call(name, text, 0, began, NEVER)


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
