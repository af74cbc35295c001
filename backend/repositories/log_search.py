"""The queries for the logs of a filter, and the labels that logs are found by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backend.repositories.log_blocks import Span
from backend.repositories.log_words import phrases
from backend.repositories.paging import Query
from database.engine import EarlierTextIndex, TextIndex, Value
from database.portable_sql import among, unindexed
from models import LogLevel

_MAX_PROJECT_LABELS = 100
"""A token that is bound to more projects sees most rows anyway, so they are scanned."""
_NOT_REMOVED = (
    "NOT EXISTS (SELECT 1 FROM system_log_removals AS r WHERE r.project_id = l.project_id)",
    "NOT EXISTS (SELECT 1 FROM system_log_removals AS r WHERE r.agent_run_id = l.agent_run_id)",
)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """The filters of a list of logs; `None` for no filter."""

    level: LogLevel | None = None
    """Only logs of this level and above."""
    component: str | None = None
    correlation_id: str | None = None
    agent_run_id: int | None = None
    project_ids: tuple[int, ...] | None = None
    """Logs of these projects only."""
    since: str | None = None
    until: str | None = None
    """`since` and `until` are both included, in the form of `time_text`."""
    timestamp_since: str | None = None
    timestamp_until: str | None = None
    """The same for when logs happened: a log without a timestamp happened when it was stored."""
    words: tuple[str, ...] = ()
    """The message contains all of these terms; case and accents are ignored. A term of several
    words matches them in this order."""


def spans_of(filter: LogFilter) -> list[Span]:
    """The ranges of time in the filter, of those that have a bound."""
    spans = [
        Span(unindexed("l.created_at"), "first_at", "last_at", filter.since, filter.until),
        Span(
            "coalesce(l.timestamp, l.created_at)",
            "coalesce(first_timestamp, first_at)",
            "coalesce(last_timestamp, last_at)",
            filter.timestamp_since,
            filter.timestamp_until,
        ),
    ]
    return [span for span in spans if span.since is not None or span.until is not None]


class _Labels(dict[Any, str]):
    """The label of each value of a trait, with a blank before it; empty for `None`."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, value: str | int | None) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        label = self[value] = f" {self.of(value)}" if value is not None else ""
        return label

    def of(self, value: str | int) -> str:
        """The label of this value. Hexadecimal makes one word of any text."""
        return f"{self._prefix}{value if isinstance(value, int) else value.encode().hex()}"


_REMEMBERED = 4096
_LEVELS, _COMPONENTS, _CORRELATIONS = _Labels("l"), _Labels("c"), _Labels("i")
_PROJECTS, _RUNS = _Labels("p"), _Labels("r")


def labels_of(
    level_no: int,
    component: str | None,
    correlation_id: str | None,
    project_id: int | None,
    agent_run_id: int | None,
) -> str:
    """The labels of a log, separated by blanks."""
    return (
        f"{_LEVELS[level_no]}{_COMPONENTS[component]}{_CORRELATIONS[correlation_id]}"
        f"{_PROJECTS[project_id]}{_RUNS[agent_run_id]}"
    )


class LogSearch:
    """The queries for the logs of one filter."""

    def __init__(self, filter: LogFilter) -> None:
        self._filter = filter
        self._traits = list(_traits(filter))
        self._labelled = [trait for trait in self._traits if trait.labels]
        self._phrases = phrases(" ".join(filter.words))
        self.needs_index = bool(
            filter.words
            or len(self._labelled) > 1
            or not all(trait.ordered for trait in self._labelled)
        )
        """Whether the logs are found by a full-text index, and not by an index of the table."""

    def by_table(self) -> tuple[Query, str]:
        """The query that needs no full-text index, and the column that orders its rows."""
        return self._completed(Query("SELECT l.* FROM system_logs AS l")), "l.id"

    def by_index(self, index: TextIndex) -> tuple[Query, str]:
        """The query for logs in the index, and the column that orders its rows."""
        if self._filter.words and not self._phrases:
            query, id_column = self.by_table()
            query.where("1 = 0")
            return query, id_column
        source, id_column = index.joined("system_logs", "l")
        query = Query(f"SELECT l.* FROM {source}")
        found, params = index.matching(self._phrases, [trait.labels for trait in self._labelled])
        query.where(found, *params)
        return self._completed(query), id_column

    def by_earlier_index(self, index: EarlierTextIndex) -> tuple[Query, str]:
        """The query for logs that are still in the index of an earlier version."""
        source, id_column = index.joined("system_logs", "l")
        query = Query(f"SELECT l.* FROM {source}")
        labels = [trait.labels for trait in self._labelled]
        found, params = index.matching(self._filter.words, labels)
        query.where(found, *params)
        return self._completed(query), id_column

    def _completed(self, query: Query) -> Query:
        # Also checked for rows from the index, because a message may contain the text of a label.
        for trait in self._traits:
            query.where(trait.condition, *trait.params)
        for span in spans_of(self._filter):
            if span.since is not None:
                query.where(f"{span.time} >= ?", span.since)
            if span.until is not None:
                query.where(f"{span.time} <= ?", span.until)
        for condition in _NOT_REMOVED:
            query.where(condition)
        return query


@dataclass(frozen=True, slots=True)
class _Trait:
    """One condition that logs are filtered by."""

    condition: str
    params: tuple[Value, ...] = ()
    labels: tuple[str, ...] = ()
    """A matching log has one of these labels."""
    ordered: bool = False
    """Whether an index of the table returns exactly these logs in the order of their ids."""


def _traits(filter: LogFilter) -> Iterator[_Trait]:
    if filter.level is not None and filter.level is not LogLevel.DEBUG:
        least = filter.level.number
        numbers = [level.number for level in LogLevel if level.number >= least]
        yield _Trait(
            # A literal, because with a parameter the engine can't use the partial index.
            f"l.level_no >= {least:d}",
            labels=tuple(map(_LEVELS.of, numbers)),
            ordered=filter.level is not LogLevel.INFO,
        )
    if filter.component is not None:
        label = _COMPONENTS.of(filter.component)
        yield _Trait("l.component = ?", (filter.component,), (label,))
    if filter.correlation_id is not None:
        label = _CORRELATIONS.of(filter.correlation_id)
        yield _Trait("l.correlation_id = ?", (filter.correlation_id,), (label,))
    if filter.agent_run_id is not None:
        run = filter.agent_run_id
        yield _Trait("l.agent_run_id = ?", (run,), (_RUNS.of(run),), ordered=True)
    if filter.project_ids is not None:
        yield _project_trait(filter.project_ids)


def _project_trait(ids: tuple[int, ...]) -> _Trait:
    if not ids:
        return _Trait("1 = 0")
    if len(ids) > _MAX_PROJECT_LABELS:
        # With an index on `project_id`, the rows would have to be sorted.
        return _Trait(among(unindexed("l.project_id"), ids), ids)
    labels = tuple(map(_PROJECTS.of, ids))
    if len(ids) == 1:
        return _Trait("l.project_id = ?", ids, labels, ordered=True)
    return _Trait(among("l.project_id", ids), ids, labels)
