"""Telling where the values of a project's secrets stand in texts that were stored before."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from backend.errors import SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.paging import Page, Position
from backend.repositories.stored_texts_repository import SOURCES, StoredTexts, TextSource
from backend.schemas.secrets import (
    FoundSecret,
    SecretScanResult,
    SkippedSecret,
    SkippedSecretReason,
)
from backend.services.base import Kit, UseCases, require_live_project, unit_of_work
from backend.services.guard import project_target
from backend.services.kinds import Kind
from backend.services.principal import current_principal
from backend.services.projects.secret_sealing import SecretSealing
from backend.services.recording import AuditEvent
from backend.services.redaction.patterns import SHORTEST, SecretPatterns

_CHECKED_AT_ONCE: Final = 500
_WINDOW: Final = 128 * 1024
"""Longer texts are looked through in parts of so many characters, because other threads wait, and
because decoded copies are made of each."""
_MOST_PARSED: Final = 1024 * 1024
"""Longer JSON is looked through as it is: nothing else could run while it is parsed. Only payloads
of deliveries may be longer."""
_WIDEST: Final = 12
"""The most characters that stand for an octet of a value: `%255Cu0061` has ten."""


@dataclass(frozen=True, slots=True)
class ScanPace:
    """How much is read at once."""

    piece_seconds: float = 0.02
    """The time after which a read ends with the row that it is at, so that it pins no snapshot and
    others have their turn."""
    piece_rows: int = 5000
    seconds: float = 5.0
    """The time after which an answer ends with a cursor."""
    rows: int = 500_000
    found: int = 500
    """An answer ends once it tells of so many places."""


@dataclass(slots=True)
class _Place:
    """What was found of one secret in one resource."""

    count: int = 0
    fields: set[str] = field(default_factory=set)
    first_at: str = ""
    last_at: str = ""

    def add(self, count: int, fields: set[str], first_at: str, last_at: str) -> None:
        """Add what was found in other rows of the resource."""
        self.first_at = min(self.first_at or first_at, first_at)
        self.last_at = max(self.last_at, last_at)
        self.count += count
        self.fields |= fields


_Places = dict[tuple[str, str], _Place]
"""By the secret's key and the resource."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for."""

    patterns: SecretPatterns
    overlap: int
    """No value that stands in a text takes more characters."""
    skipped: list[SkippedSecret]

    def count(self, text: str) -> Mapping[str, int]:
        """How often the value of each secret stands in the text, which may be JSON."""
        found = self._count(text)
        if "\\" not in text or text[0] not in "[{" or len(text) > _MOST_PARSED:
            return found
        # As redaction does, each string of JSON is decoded further by itself.
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return found
        inside: Counter[str] = Counter()
        for leaf in _strings(value):
            inside.update(self._count(leaf))
        return found | inside

    def _count(self, text: str) -> Counter[str]:
        if len(text) <= _WINDOW:
            return self.patterns.count(text)
        found: Counter[str] = Counter()
        width = max(_WINDOW, 2 * self.overlap)
        step = width - self.overlap
        for start in range(0, len(text), step):
            found.update(self.patterns.count(text[start : start + width]))
            if start + width >= len(text):
                break
            # What stands where two parts overlap is found in both.
            found.subtract(self.patterns.count(text[start + step : start + width]))
        return +found


@dataclass(frozen=True, slots=True)
class _Piece:
    """The result of one read."""

    places: _Places
    rows: int
    next: Position | None
    """`None` when the source has no more rows."""


class SecretScan(UseCases):
    """Looks through a project's texts, in small reads and with a cursor."""

    def __init__(self, kit: Kit, sealing: SecretSealing, pace: ScanPace | None = None) -> None:
        super().__init__(kit)
        self._sealing = sealing
        self.pace = pace or ScanPace()

    async def scan(self, project_id: int, *, cursor: str | None) -> SecretScanResult:
        """Where the present values of the project's secrets stand, newest rows first, in what the
        principal may read. The audit records the scan, at its first page.

        It reads for a few seconds at most; `next_cursor` goes on. Raises `ProjectNotFound` and
        `BadCursor`.
        """
        may = current_principal().may
        sources = [source for source in SOURCES if may(source.scope)]
        missing = sorted({source.scope for source in SOURCES if not may(source.scope)})
        listing = self.kit.listing("secrets/scan", project_id, missing, cursor=cursor)
        wanted = await self._wanted(project_id)
        if cursor is None:
            await self._record(project_id)
        places: _Places = {}
        position = await self._read(project_id, wanted, sources, listing.after, places)
        page = Page(list(_answered(places)), position)
        return listing.answer(
            SecretScanResult,
            page,
            found=page.items,
            skipped=wanted.skipped if cursor is None else [],
            missing_scopes=missing,
        )

    async def _read(
        self,
        project_id: int,
        wanted: _Wanted,
        sources: list[TextSource],
        after: Position | None,
        places: _Places,
    ) -> Position | None:
        """Add to `places` until the page is full. Returns the position after the page: the table,
        and the place in it; `None` when all is read."""
        if not wanted.patterns:
            return None
        end, rows = time.monotonic() + self.pace.seconds, 0
        names = [source.table for source in sources]
        first = names.index(str(after[0])) if after is not None else 0
        place = after[1:] or None if after is not None else None
        for source in sources[first:]:
            while True:
                if (
                    rows >= self.pace.rows
                    or len(places) >= self.pace.found
                    or time.monotonic() > end
                ):
                    return (source.table, *(place or ()))
                most = min(self.pace.piece_rows, self.pace.rows - rows)
                piece = await self._piece(project_id, wanted, source, place, most)
                for key, found in piece.places.items():
                    places.setdefault(key, _Place()).add(
                        found.count, found.fields, found.first_at, found.last_at
                    )
                rows += piece.rows
                place = piece.next
                if place is None:
                    break
        return None

    @unit_of_work(read_only=True)
    async def _piece(
        self,
        project_id: int,
        wanted: _Wanted,
        source: TextSource,
        after: Position | None,
        most: int,
    ) -> _Piece:
        """Look through some rows, from one snapshot."""
        places: _Places = {}
        rows = 0
        end = time.monotonic() + self.pace.piece_seconds

        def takes(row: StoredTexts) -> bool:
            nonlocal rows
            rows += 1
            _look_through(row, wanted, places)
            return rows < most and len(places) < self.pace.found and time.monotonic() < end

        async with self.transaction() as repositories:
            place = await repositories.stored_texts.read(source, project_id, after, takes)
        return _Piece(places, rows, place)

    @unit_of_work(read_only=True)
    async def _wanted(self, project_id: int) -> _Wanted:
        """The present values of the project's secrets. Raises `ProjectNotFound`."""
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            values, skipped = await self._values(repositories, project_id)
        longest = max((len(value.encode()) for value in values.values()), default=0)
        return _Wanted(SecretPatterns(values), _WIDEST * longest, skipped)

    async def _values(
        self, repositories: Repositories, project_id: int
    ) -> tuple[dict[str, str], list[SkippedSecret]]:
        """The values by key, and the secrets that can't be looked for."""
        stored = await repositories.secrets.all_of(project_id)
        forged: set[int] = set()
        for start in range(0, len(stored), _CHECKED_AT_ONCE):
            ids = [one.secret.id for one in stored[start : start + _CHECKED_AT_ONCE]]
            forged |= (await self.kit.guard.forged(repositories, SECRETS, ids)).keys()
        values: dict[str, str] = {}
        skipped: list[SkippedSecret] = []
        for one in stored:
            key = one.secret.key_name
            try:
                if one.secret.id in forged:
                    raise SecretUnreadable
                value = self._sealing.open_genuine(one).get_secret_value()
            except SecretUnreadable:
                reason = SkippedSecretReason.UNREADABLE
            else:
                if len(value) >= SHORTEST:
                    values[key] = value
                    continue
                reason = SkippedSecretReason.TOO_SHORT
            skipped.append(SkippedSecret.model_construct(key=key, reason=reason))
        return values, skipped

    @unit_of_work
    async def _record(self, project_id: int) -> None:
        async with self.transaction() as repositories:
            await require_live_project(repositories, project_id)
            target = f"{project_target(project_id)}/secrets"
            event = AuditEvent(Kind.SECRET_SCANNED, target, project_id)
            await self.kit.audit.record_all(repositories, [event])


def _look_through(row: StoredTexts, wanted: _Wanted, places: _Places) -> None:
    """Add what the row has to `places`."""
    # Most rows have nothing, and one search is faster than one for each text. No value goes over
    # two of them, because none has a NUL. Strings of JSON that have escapes are decoded further.
    whole = "\0".join(text for _, text in row.texts)
    if "\\" not in whole and not wanted.count(whole):
        return
    for name, text in row.texts:
        for key, count in wanted.count(text).items():
            place = places.setdefault((key, row.resource), _Place())
            place.add(count, {name}, row.created_at, row.created_at)


def _strings(value: Any) -> Iterator[str]:
    """The strings in a value of JSON, and the names of its members."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one
            waiting += one.values()


def _answered(places: _Places) -> Iterator[FoundSecret]:
    for (key, resource), place in sorted(places.items()):
        yield FoundSecret.model_construct(
            key=key,
            resource=resource,
            count=place.count,
            fields=sorted(place.fields),
            first_at=place.first_at,
            last_at=place.last_at,
        )
