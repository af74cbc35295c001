"""Cached answers to reads, valid until a commit changes the tables that they show.

Agents and front ends mostly repeat earlier requests. A cached answer needs neither a query nor a
model, and is never older than the last commit that a client was told of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from database.changes import ChangeCounter, TableVersion, any_change, changes_of_rows

MAX_BYTES = 16 * 1024 * 1024
"""The limit for each kind of answer. The oldest answer is dropped first."""
MAX_ANSWERS = 2048
"""The limit for each kind, because the cache keys take memory too, and clients choose them."""
_LARGEST = MAX_BYTES // 16
"""A larger answer is not kept, because it would displace too many others."""


class ResponseCache:
    """Answers of one kind by request. Belongs to the event loop's thread."""

    __slots__ = ("_bytes", "_kept", "_max_bytes", "_shown", "_version")

    def __init__(self, shown: TableVersion, max_bytes: int = MAX_BYTES) -> None:
        """`shown` counts the changes to the tables that the answers show."""
        self._shown = shown
        self._max_bytes = max_bytes
        self._version: int | None = None
        self._kept: dict[Hashable, bytes] = {}
        self._bytes = 0

    async def of(self, asked: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The cached answer if it is still valid, else the result of `make`, which is kept if
        nothing changed while it was made."""
        version = self._shown.version
        if version is not None and version == self._version:
            kept = self._kept.get(asked)
            if kept is not None:
                # Without this, a caller in a loop would never let other tasks run.
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
    """The caches of all kinds of answers."""

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
        """A project with its configuration and the metadata of its secrets, by the project's id."""
