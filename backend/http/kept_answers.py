"""Answers that are kept as they were sent, so that the edge can send them again.

Agents and front ends mostly repeat earlier requests. A kept answer needs neither a route nor a
query, and is never older than the last commit that a client was told of. Belongs to the event
loop's thread.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from starlette.types import Scope

from backend.http.entity_tags import etag_of, headers_of_304
from backend.http.route_policy import Policies
from backend.services.shown import Shown, ShownVersions
from database.changes import TableVersion

MAX_BYTES = 16 * 1024 * 1024
"""The limit for each kind of answer. The oldest answer is dropped first."""
MAX_ANSWERS = 2048
"""The limit for each kind, because requests take memory too, and clients choose them."""
_LARGEST = MAX_BYTES // 16
"""A larger answer is not kept, because it would displace too many others."""

RawHeaders = list[tuple[bytes, bytes]]


Audience = tuple[frozenset[int] | None, bool]
"""The clients that an answer is for: the projects that their tokens may see, `None` for all, and
whether they accept gzip."""


_FRAMING = frozenset({b"connection", b"transfer-encoding"})
"""Headers that say more than the length about where an answer or its connection ends."""


_STATUS_LINES = {200: b"HTTP/1.1 200 OK\r\n", 304: b"HTTP/1.1 304 Not Modified\r\n"}


class KeptAnswer:
    """The answer to a `GET`, whose status is 200; or the answer 304 that stands for it."""

    __slots__ = (
        "_lines",
        "_not_modified",
        "body",
        "etag",
        "headers",
        "last_headers",
        "scopes",
        "status",
        "status_line",
        "template",
    )

    def __init__(
        self,
        scopes: Sequence[str],
        template: str,
        headers: RawHeaders,
        last_headers: RawHeaders,
        body: bytes,
        status: int = 200,
    ) -> None:
        self.status = status
        self.status_line = _STATUS_LINES[status]
        self.scopes = scopes
        """The scopes that a token needs for it."""
        self.template = template
        """The template of its route."""
        self.headers = headers
        """All headers that are the same for every client, in front of those of a single request."""
        self.last_headers = last_headers
        """The same behind them."""
        self.body = body
        self.etag = etag_of(headers)
        """Its entity tag, if it has one."""
        self._lines: tuple[bytes, bytes] | None = None
        self._not_modified: KeptAnswer | None = None

    @property
    def not_modified(self) -> "KeptAnswer":
        """The answer for a client that has this one already."""
        if self._not_modified is None:
            # Made when it is first asked for, as the lines are.
            self._not_modified = KeptAnswer(
                self.scopes,
                self.template,
                headers_of_304(self.headers),
                self.last_headers,
                b"",
                304,
            )
        return self._not_modified

    def lines(self) -> tuple[bytes, bytes] | None:
        """Both parts of the headers as lines of HTTP/1.1; `None` if only the server knows how the
        body ends."""
        if self._lines is None:
            # Made when the answer is sent again, which not every kept answer is.
            names = {name for name, _ in self.headers}
            has_end = b"content-length" in names or self.status == 304
            if has_end and not names & _FRAMING:
                self._lines = header_lines(self.headers), header_lines(self.last_headers)
        return self._lines


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The headers as lines of HTTP/1.1."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


def url_of(scope: Scope) -> bytes | None:
    """The path and the query in `scope`, as the client has sent them; `None` if the server does not
    tell, and below another path, where the same path may name something else."""
    path: bytes | None = scope.get("raw_path")
    if not path or scope.get("root_path"):
        return None
    query: bytes = scope["query_string"]
    return b"%s?%s" % (path, query) if query else path


OFFER = "strongroom.offer"
"""The key in a scope of the `Offer` of its answer."""


class Offer(NamedTuple):
    """What a route tells of an answer that may be kept."""

    shown: Shown
    version: int
    """The version before it was made and after."""
    scopes: Sequence[str]
    template: str
    project_ids: frozenset[int] | None


Audiences = dict[Audience, KeptAnswer]


class KeptAnswers:
    """The answers of one application, by the request's URL and by audience."""

    def __init__(self, policies: Policies) -> None:
        """`policies` tell which routes have answers to keep, and what they show."""
        self._kinds = {shown: _Kind() for policy in policies.values() for shown in policy.kept}
        self._all = tuple(self._kinds.values())
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, versions: ShownVersions) -> None:
        """Begin to keep the answers of this event loop, with the versions of one installation."""
        self._loop = asyncio.get_running_loop()
        for shown, kind in self._kinds.items():
            kind.follow(versions[shown])

    def stop(self) -> None:
        """Drop all answers and keep no more."""
        self._loop = None
        for kind in self._all:
            kind.follow(None)

    def find(self, url: bytes, loop: asyncio.AbstractEventLoop) -> Audiences | None:
        """The valid answers to a `GET` of the URL on the running event loop; `None` when there is
        none."""
        if self._loop is not loop:
            return None
        for kind in self._all:
            audiences = kind.kept.get(url)
            if audiences is not None:
                return audiences if kind.is_valid else None
        return None

    def version(self, shown: Shown) -> int | None:
        """A number that stays the same as long as answers of the kind are valid. `None` while no
        answer may be kept."""
        kind = self._kinds.get(shown)
        return kind.version if kind is not None else None

    def keep(self, scope: Scope, audience: Audience, offer: Offer, answer: KeptAnswer) -> None:
        """Keep an answer to the request in `scope`."""
        url = url_of(scope)
        if self._loop is not None and url is not None:
            self._kinds[offer.shown].keep(offer.version, url, audience, answer)

    def __len__(self) -> int:
        return sum(len(kind) for kind in self._all)


class _Kind:
    """The answers that are valid until the same tables change."""

    __slots__ = ("_bytes", "_count", "_current", "_valid_at", "kept")

    def __init__(self) -> None:
        self._current: TableVersion | None = None
        self._valid_at: int | None = None
        self.kept: dict[bytes, Audiences] = {}
        self._bytes = 0
        self._count = 0

    def follow(self, current: TableVersion | None) -> None:
        self._current = current
        self._clear(None)

    @property
    def version(self) -> int | None:
        return self._current.version if self._current is not None else None

    @property
    def is_valid(self) -> bool:
        """Whether nothing has changed since the answers were made."""
        version = self._current.version if self._current is not None else None
        return version is not None and version == self._valid_at

    def keep(self, version: int, url: bytes, audience: Audience, answer: KeptAnswer) -> None:
        if version != self.version:
            return
        if version != self._valid_at:
            self._clear(version)
        if len(answer.body) > _LARGEST:
            return
        audiences = self.kept.setdefault(url, {})
        if audience in audiences:
            return
        audiences[audience] = answer
        self._bytes += len(answer.body)
        self._count += 1
        while self._bytes > MAX_BYTES or self._count > MAX_ANSWERS:
            dropped = self.kept.pop(next(iter(self.kept)))
            self._bytes -= sum(len(answer.body) for answer in dropped.values())
            self._count -= len(dropped)

    def _clear(self, version: int | None) -> None:
        self._valid_at = version
        self.kept.clear()
        self._bytes = self._count = 0

    def __len__(self) -> int:
        return self._count
