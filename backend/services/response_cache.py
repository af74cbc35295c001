"""Answers to reads, kept as long as they are true: until a commit changes what they show.

Most of what agents and front ends ask is what they asked before. A kept answer costs neither a
query nor a model, and is never older than the last commit that anybody was told of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from database.changes import ChangeCounter, TableVersion, any_change, changes_of_rows

MAX_BYTES = 16 * 1024 * 1024
"""Of each kind of answer; the one that was made first goes first."""
MAX_ANSWERS = 2048
"""Of each kind: what was asked takes memory as well, and it is the client who says what."""
_LARGEST = MAX_BYTES // 16
"""A larger one is not kept: it would drive out too many others."""


class ResponseCache:
    """One kind of answer, by what was asked. Belongs to the event loop's thread."""

    __slots__ = ("_bytes", "_kept", "_max_bytes", "_shown", "_version")

    def __init__(self, shown: TableVersion, max_bytes: int = MAX_BYTES) -> None:
        """`shown` counts the changes to everything that the answers show."""
        self._shown = shown
        self._max_bytes = max_bytes
        self._version: int | None = None
        self._kept: dict[Hashable, bytes] = {}
        self._bytes = 0

    async def of(self, asked: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer: one that is kept and true now, else what `make` gives, which is kept if
        nothing changed meanwhile."""
        version = self._shown.version
        if version is not None and version == self._version:
            kept = self._kept.get(asked)
            if kept is not None:
                # Whoever asks in a loop, without a network between, lets others run too.
                await asyncio.sleep(0)
                return kept
        answer = await make()
        if version is not None and version == self._shown.version:
            self._keep(version, asked, answer)
        return answer

    def _keep(self, version: int, asked: Hashable, answer: bytes) -> None:
        if version != self._version:
            self._version = version
            self._kept.clear()
            self._bytes = 0
        if len(answer) > min(_LARGEST, self._max_bytes) or asked in self._kept:
            return
        self._kept[asked] = answer
        self._bytes += len(answer)
        while self._bytes > self._max_bytes or len(self._kept) > MAX_ANSWERS:
            self._bytes -= len(self._kept.pop(next(iter(self._kept))))


class ResponseCaches:
    """Every kind of answer that is kept."""

    def __init__(self, versions: ChangeCounter) -> None:
        configured = any_change("project_settings", "project_secrets", "project_keys")
        self.project = ResponseCache(versions.counting(changes_of_rows("projects")))
        """A project, by its id."""
        self.projects = ResponseCache(versions.counting(any_change("projects")))
        """A page of projects, by its filters, order, limit and cursor."""
        self.settings = ResponseCache(
            versions.counting([*changes_of_rows("projects"), *any_change("project_settings")])
        )
        """A project's configuration, by the project's id."""
        self.full = ResponseCache(versions.counting([*changes_of_rows("projects"), *configured]))
        """Project, configuration and the metadata of its secrets, by the project's id."""
