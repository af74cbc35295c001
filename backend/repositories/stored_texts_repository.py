"""Reading all texts that clients have stored for a project, newest first, and in pieces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from backend.repositories.paging import Position
from database.base import TableAccess
from database.engine import Row, Value
from models import Scope

_OWNERS_AT_ONCE: Final = 2000
"""The number of runs or webhooks whose rows are looked for with one statement. Most have few rows,
or none, and a statement that finds nothing can't be stopped."""


@dataclass(frozen=True, slots=True)
class TextSource:
    """A table with texts of clients, which has an index of its rows by `belongs` and `order`."""

    table: str
    scope: Scope
    """The scope that shows these texts."""
    resource: str
    """Where they are shown, below `/api`, with names of columns, and `{project_id}`. The places of
    `secret.leaked` are the same."""
    texts: tuple[str, ...]
    """The columns."""
    belongs: str = "project_id"
    """The column that names the project, or the row of `owners` that a row belongs to."""
    owners: str | None = None
    """The table whose `project_id` names the project; `None` if that is in `belongs`."""
    order: tuple[str, ...] = ("id",)
    """Columns that identify a row among those of its owner."""
    resource_of_run: str | None = None
    """The same as `resource` for rows that name a run, in the column `agent_run_id`."""


class StoredTexts:
    """The texts of a row."""

    __slots__ = ("_project_id", "_source", "_values", "texts")

    def __init__(self, source: TextSource, project_id: int, values: dict[str, Value]) -> None:
        self._source = source
        self._project_id = project_id
        self._values = values
        self.texts: list[tuple[str, str]] = [
            (name, value) for name in source.texts if isinstance(value := values[name], str)
        ]
        """By column, without nulls."""

    @property
    def resource(self) -> str:
        """Where they are shown, below `/api`."""
        template = self._source.resource
        if self._source.resource_of_run is not None and self._values["agent_run_id"] is not None:
            template = self._source.resource_of_run
        # Made only for rows that have something, which are few.
        return template.format_map({**self._values, "project_id": self._project_id})

    @property
    def created_at(self) -> str:
        """When the row was stored."""
        return str(self._values["created_at"])


_RUN_TEXTS = (
    *("target_text", "planning_statement", "result", "error_message", "metadata"),
    *("pr_url", "web_url", "codegen_run_id", "lease_worker"),
)
_CONFIGURATION_TEXTS = (
    *("planning_statement", "repository_rules", "setup_commands", "branch_name"),
)

SOURCES: Final = (
    TextSource(
        "projects",
        Scope.PROJECTS_READ,
        "projects/{project_id}",
        ("name", "github_owner", "github_repo", "webhook_url"),
        belongs="id",
    ),
    TextSource(
        "project_settings",
        Scope.PROJECTS_READ,
        "projects/{project_id}/configuration",
        _CONFIGURATION_TEXTS,
    ),
    TextSource(
        "configuration_versions",
        Scope.PROJECTS_READ,
        "projects/{project_id}/configuration/versions/{version}",
        _CONFIGURATION_TEXTS,
        order=("version",),
    ),
    TextSource("webhooks", Scope.PROJECTS_READ, "webhooks/{id}", ("webhook_url", "events")),
    TextSource("agent_runs", Scope.RUNS_READ, "agent-runs/{id}", _RUN_TEXTS),
    TextSource(
        "pipeline_states",
        Scope.RUNS_READ,
        "agent-runs/{agent_run_id}/pipeline-states",
        ("metadata",),
        belongs="agent_run_id",
        owners="agent_runs",
    ),
    TextSource(
        "messages",
        Scope.RUNS_READ,
        "agent-runs/{agent_run_id}/messages",
        ("content",),
        belongs="agent_run_id",
        owners="agent_runs",
    ),
    TextSource(
        "grainchain_snapshots",
        Scope.RUNS_READ,
        "snapshots/{id}",
        ("snapshot_id", "config", "validation_results", "error_message"),
        belongs="agent_run_id",
        owners="agent_runs",
    ),
    TextSource(
        "test_results",
        Scope.RUNS_READ,
        "agent-runs/{agent_run_id}/test-results",
        (
            *("test_type", "test_name", "result_data", "error_message"),
            *("screenshot_path", "log_path"),
        ),
        belongs="agent_run_id",
        owners="agent_runs",
        order=("is_last", "id"),
    ),
    TextSource(
        "webhook_deliveries",
        Scope.PROJECTS_READ,
        "webhooks/{webhook_id}/deliveries/{id}",
        ("guid", "event", "action", "payload"),
        belongs="webhook_id",
        owners="webhooks",
    ),
    TextSource(
        "system_logs",
        Scope.LOGS_READ,
        "logs",
        ("message", "context", "component", "correlation_id"),
        resource_of_run="agent-runs/{agent_run_id}/logs",
    ),
)
"""In the order in which they are read: the largest ones last."""

Takes = Callable[[StoredTexts], bool]
"""Called on the thread that reads. Returns whether to go on with the next row."""


class StoredTextsRepository(TableAccess):
    """Reads the tables of `SOURCES`."""

    async def read(
        self, source: TextSource, project_id: int, after: Position | None, takes: Takes
    ) -> Position | None:
        """Call `takes` with rows of a project, newest first, until it returns False or some have
        been read. Begins after the position `after`, `None` for the newest row. Returns where to
        go on, `None` when nothing is left."""
        if source.owners is None:
            return await self._rows(source, project_id, project_id, after, takes)
        if after is not None and len(after) > 1:
            owner, *last = after
            place = await self._rows(source, project_id, owner, last, takes)
            # The rows of the next owners are left to the next call.
            return (owner,) if place is None else (owner, *place)
        return await self._rows_of_others(source, project_id, after, takes)

    async def _rows(
        self,
        source: TextSource,
        project_id: int,
        owner: Value,
        after: Sequence[Value] | None,
        takes: Takes,
    ) -> Position | None:
        """The same for the rows of one owner, by the columns of `order`."""
        names = _selected(source)
        order = ", ".join(source.order)
        condition, params = "", [owner]
        if after is not None:
            condition = f" AND ({order}) < ({', '.join('?' * len(source.order))})"
            params += after
        taking = _Taking(source, names, project_id, takes)
        await self.db.fetch_while(
            f"SELECT {', '.join(names)} FROM {source.table}"
            f" WHERE {source.belongs} = ?{condition}"
            f" ORDER BY {', '.join(f'{name} DESC' for name in source.order)}",
            params,
            taking,
        )
        return taking.stopped_at

    async def _rows_of_others(
        self, source: TextSource, project_id: int, after: Position | None, takes: Takes
    ) -> Position | None:
        """The same for the rows of the next owners, below the one that `after` names."""
        owners = f"{source.owners} WHERE project_id = ?"
        params: list[Value] = [project_id]
        if after is not None:
            owners += " AND id < ?"
            params += after
        lowest = await self.db.fetch_one(
            "SELECT min(id) AS id FROM"
            f" (SELECT id FROM {owners} ORDER BY id DESC LIMIT ?) AS next_owners",
            (*params, _OWNERS_AT_ONCE),
        )
        if lowest is None or lowest["id"] is None:
            return None
        names = _selected(source)
        columns = ", ".join(f"t.{name} AS {name}" for name in names)
        below = " AND o.id < ?" if after is not None else ""
        taking = _Taking(source, names, project_id, takes)
        await self.db.fetch_while(
            f"SELECT {columns} FROM {source.owners} AS o"
            f" JOIN {source.table} AS t ON t.{source.belongs} = o.id"
            f" WHERE o.project_id = ?{below} AND o.id >= ?"
            f" ORDER BY o.id DESC, {', '.join(f't.{name} DESC' for name in source.order)}",
            (*params, lowest["id"]),
            taking,
        )
        if taking.stopped_at is None:
            return (lowest["id"],)
        return (taking.owner, *taking.stopped_at)


class _Taking:
    """Makes the texts of each row, and remembers where the reading was stopped."""

    def __init__(
        self, source: TextSource, names: Sequence[str], project_id: int, takes: Takes
    ) -> None:
        self._source = source
        self._names = names
        self._project_id = project_id
        self._takes = takes
        self.owner: Value = None
        """The owner of the last row."""
        self.stopped_at: Position | None = None
        """The last row by the columns of `order`, if it was not the last one to be wanted."""

    def __call__(self, row: Row) -> bool:
        source = self._source
        values = dict(zip(self._names, row, strict=True))
        self.owner = values[source.belongs]
        if self._takes(StoredTexts(source, self._project_id, values)):
            return True
        self.stopped_at = tuple(values[name] for name in source.order)
        return False


def _selected(source: TextSource) -> list[str]:
    of_run = () if source.resource_of_run is None else ("agent_run_id",)
    names = (source.belongs, *source.order, "id", "created_at", *of_run, *source.texts)
    return list(dict.fromkeys(names))
