"""Use cases for logs: storing many at once, and listing them."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from backend.errors import (
    AgentRunNotFound,
    ProjectNotFound,
    StrongroomError,
    ValidationFailed,
)
from backend.repositories import Repositories
from backend.repositories.paging import Page, Position
from backend.repositories.system_log_repository import LogFilter, NewLog
from backend.schemas.logs import LogEntry, LogList
from backend.schemas.plain_logs import MAX_MESSAGE, PlainLog
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.feeds import Extent
from backend.services.logs.log_feed import LogFeed
from backend.services.places import Place
from backend.services.principal import current_principal
from backend.services.recording import note_concerned
from backend.services.redaction.redaction import Redaction
from database.base import time_text
from models import LogLevel, SystemLog

Owner = tuple[int | None, int | None]
"""The project and the run that a log names."""

Log = LogEntry | PlainLog
_ONE = LogEntry, PlainLog

_LEVELS: Final[dict[str, tuple[str, int]]] = {
    level.value: (level.value, level.number) for level in LogLevel
}


class Logs(UseCases):
    """Storing, listing and following logs."""

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.feed = LogFeed(kit, self)

    async def append(self, logs: Log | Sequence[Log]) -> int:
        """Store one log, or all of several in their order, or none. Returns their number.

        A log of a run belongs to the run's project. Raises `ProjectNotFound`, `AgentRunNotFound`
        (also when the run belongs to another project than the one named), and `ValidationFailed`
        for a log without a project from a principal that is bound to projects. Each error names
        the places of the logs that it concerns.
        """
        several = [logs] if isinstance(logs, _ONE) else logs
        if several:
            owners = {(log.project_id, log.agent_run_id) for log in several}
            try:
                await self._append(several, owners)
            except _WrongOwner as wrong:
                raise wrong.error_in(logs) from None
        return len(several)

    @unit_of_work
    async def append_own(self, logs: Sequence[LogEntry]) -> None:
        """Store the service's own logs, which belong to no project."""
        async with self.transaction() as repositories:
            rows = [_row(log, {(None, None): None}) for log in logs]
            await repositories.logs.append(rows, own=True)

    @unit_of_work
    async def _append(self, logs: Sequence[Log], owners: Collection[Owner]) -> None:
        async with self.transaction() as repositories:
            projects = await _projects_of(repositories, owners)
            # Logs are not recorded.
            note_concerned(projects.values())
            rows = [_row(log, projects) for log in logs]
            for project_id in set(projects.values()):
                if project_id is not None:
                    redaction = await self.kit.redactor.begin(repositories, project_id)
                    if redaction:
                        rows = await self._redacted(repositories, project_id, redaction, rows)
            await repositories.logs.append(rows)

    async def _redacted(
        self,
        repositories: Repositories,
        project_id: int,
        redaction: Redaction,
        rows: Sequence[NewLog],
    ) -> list[NewLog]:
        """The rows, without values of the project's secrets in those of the project. What was found
        is recorded."""
        redacted: list[NewLog] = []
        leaked: dict[str, set[str]] = {}
        for row in rows:
            level, number, message, component, context, correlation_id, owner, run_id, at = row
            if owner == project_id and not redaction.is_clean(message, context):
                message, context = (
                    redaction.text(message, MAX_MESSAGE),
                    redaction.json_text(context),
                )
                if found := redaction.take_found():
                    place = f"agent-runs/{run_id}/logs" if run_id is not None else "logs"
                    leaked.setdefault(place, set()).update(found)
                    row = (  # noqa: PLW2901 - it takes the place of the other
                        *(level, number, message, component, context),
                        *(correlation_id, owner, run_id, at),
                    )
            redacted.append(row)
        for place, keys in leaked.items():
            await self.kit.redactor.record(repositories, project_id, keys, place)
        return redacted

    async def page(
        self,
        *,
        after: Place | None = None,
        limit: int = 50,
        cursor: str | None = None,
        **filters: Any,
    ) -> LogList:
        """One page of logs, with the `filters` of `wanted_logs`: newest first, or the logs behind
        the place `after`, oldest first.

        Raises `BadCursor`, and `BadRequest` for a place in another epoch.
        """
        filter = wanted_logs(**filters)
        listing = self.kit.listing("logs", filter, *([after] if after else ()), cursor=cursor)
        if after is None:
            page = await self._page(filter, limit, listing.after)
        else:
            after_id = await self.feed.begin(after, listing)
            page = await self.following(filter, after_id, None, limit)
        return listing.answer(LogList, page, logs=page.items)

    def wanted(self, **filters: Any) -> LogFilter:
        """See `wanted_logs`."""
        return wanted_logs(**filters)

    @unit_of_work(read_only=True)
    async def following(
        self, filter: LogFilter, after_id: int, until_id: int | None, limit: int
    ) -> Page[SystemLog]:
        """Up to `limit` logs after the id `after_id` and up to `until_id`, oldest first."""
        async with self.transaction() as repositories:
            return await repositories.logs.following(filter, after_id, until_id, limit)

    @unit_of_work(read_only=True)
    async def extent(self) -> Extent:
        """Which logs there are."""
        async with self.transaction() as repositories:
            return Extent(*await repositories.logs.extent())

    @unit_of_work(read_only=True)
    async def _page(self, filter: LogFilter, limit: int, after: Position | None) -> Page[SystemLog]:
        async with self.transaction() as repositories:
            return await repositories.logs.page(filter, limit=limit, after=after)


def wanted_logs(
    *,
    level: LogLevel | None = None,
    component: str | None = None,
    correlation_id: str | None = None,
    agent_run_id: int | None = None,
    project_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    timestamp_since: datetime | None = None,
    timestamp_until: datetime | None = None,
    text: str | None = None,
) -> LogFilter:
    """The logs that the current principal may see: of this level and above, stored from `since` to
    `until`, and happened from `timestamp_since` to `timestamp_until` (all included), with all words
    of `text` in the message."""
    return LogFilter(
        level=level,
        component=component,
        correlation_id=correlation_id,
        agent_run_id=agent_run_id,
        project_ids=_visible(project_id),
        since=_time(since),
        until=_time(until),
        timestamp_since=_time(timestamp_since),
        timestamp_until=_time(timestamp_until),
        words=tuple(dict.fromkeys((text or "").split())),
    )


def _time(time: datetime | None) -> str | None:
    return time_text(time) if time is not None else None


def _visible(project_id: int | None) -> tuple[int, ...] | None:
    """The projects whose logs are listed; `None` for all logs, also those without a project."""
    principal = current_principal()
    if project_id is not None:
        return (project_id,) if principal.sees(project_id) else ()
    return principal.visible_ids


Wrong = type[ProjectNotFound | AgentRunNotFound] | None
"""The error for an owner that does not exist; `None` when an owner is required but missing."""


class _WrongOwner(Exception):
    """Logs name owners that they can't have, each with its error."""

    def __init__(self, wrong: dict[Owner, Wrong]) -> None:
        super().__init__()
        self._wrong = wrong

    def error_in(self, logs: Log | Sequence[Log]) -> StrongroomError:
        """The error of the first wrong log, with the places of all logs with the same error."""
        if isinstance(logs, _ONE):
            placed: list[tuple[tuple[str | int, ...], Log]] = [((), logs)]
        else:
            placed = [(("logs", index), log) for index, log in enumerate(logs)]
        found: dict[Wrong, list[tuple[str | int, ...]]] = {}
        for place, log in placed:
            owner = log.project_id, log.agent_run_id
            if owner in self._wrong:
                name = "project_id" if log.agent_run_id is None else "agent_run_id"
                found.setdefault(self._wrong[owner], []).append((*place, name))
        kind, places = next(iter(found.items()))
        if kind is not None:
            return kind(places=places)
        message = "the token is bound to projects: send a project_id or an agent_run_id"
        return ValidationFailed(
            [{"loc": place, "type": "missing", "msg": message} for place in places]
        )


async def _projects_of(
    repositories: Repositories, owners: Collection[Owner]
) -> dict[Owner, int | None]:
    """For each pair of a project and a run that logs name, the project that the logs belong to.

    Raises `_WrongOwner`.
    """
    runs = await repositories.logs.projects_of_runs(_given(run for _, run in owners))
    projects = await repositories.logs.existing_projects(
        _given(project for project, run in owners if run is None)
    )
    principal = current_principal()
    found: dict[Owner, int | None] = {}
    wrong: dict[Owner, Wrong] = {}
    for owner in owners:
        project_id, run_id = owner
        if run_id is not None:
            found[owner] = runs.get(run_id)
            if project_id not in (None, found[owner]) or not _is_seen(found[owner]):
                wrong[owner] = AgentRunNotFound
        elif project_id is not None:
            found[owner] = project_id
            if project_id not in projects or not _is_seen(project_id):
                wrong[owner] = ProjectNotFound
        else:
            found[owner] = None
            if principal.project_ids is not None:
                wrong[owner] = None
    if wrong:
        raise _WrongOwner(wrong)
    return found


def _is_seen(project_id: int | None) -> bool:
    return project_id is not None and current_principal().sees(project_id)


def _given(ids: Iterable[int | None]) -> list[int]:
    return sorted({id for id in ids if id is not None})


def _row(log: Log, projects: dict[Owner, int | None]) -> NewLog:
    level, number = _LEVELS[log.level]
    project_id = projects[log.project_id, log.agent_run_id]
    return (
        level,
        number,
        log.message,
        log.component,
        log.context,
        log.correlation_id,
        project_id,
        log.agent_run_id,
        _time(log.timestamp),
    )
