"""Pipeline states: an append-only history for each run."""

from dataclasses import dataclass
from types import MappingProxyType

from backend.repositories.paging import Page, Position, Query, fetch_page, json_members
from database.base import BaseRepository, Clock, utc_now
from database.connection_manager import DatabaseManager
from database.engine import Row
from models import PipelineState, PipelineStateName


@dataclass(frozen=True, slots=True)
class TimedState:
    """A state, and when the next one was added; `None` for the last state."""

    state: PipelineState
    next_at: str | None


class PipelineStateRepository(BaseRepository[PipelineState]):
    """The table `pipeline_states`. It is append-only; its rows are removed with their run."""

    versioned = False
    defaults = MappingProxyType(
        {
            "previous_state": None,
            "metadata": "{}",
        }
    )

    def __init__(
        self, db_manager: DatabaseManager | None = None, *, clock: Clock = utc_now
    ) -> None:
        super().__init__(PipelineState, "pipeline_states", db_manager, clock=clock)

    async def append(self, run_id: int, state: PipelineStateName, metadata: str) -> PipelineState:
        """Add a state after the run's last one, which becomes its previous state.

        Raises `ForeignKeyViolation` when the run does not exist.
        """
        rows = await self.db.execute_returning(
            "INSERT INTO pipeline_states"
            " (agent_run_id, state, previous_state, metadata, created_at)"
            " SELECT ?, ?, (SELECT last.state FROM pipeline_states AS last"
            " WHERE last.agent_run_id = ? ORDER BY last.id DESC LIMIT 1), ?, ?"
            " RETURNING *",
            (run_id, state.value, run_id, metadata, self.now()),
        )
        return self.model(rows[0])

    async def history(
        self, run_id: int, *, limit: int, after: Position | None, used: int = 0
    ) -> Page[TimedState]:
        """Up to `limit` states of the run, oldest first, after the position `after`. `used` bytes
        of the answer are already taken."""
        query = Query(
            "SELECT s.*, (SELECT n.created_at FROM pipeline_states AS n"
            " WHERE n.agent_run_id = s.agent_run_id AND n.id > s.id ORDER BY n.id LIMIT 1)"
            " AS next_at FROM pipeline_states AS s"
        )
        query.where("s.agent_run_id = ?", run_id)
        query.keyset(("s.id",), after, descending=False, limit=limit)
        return await fetch_page(
            self.db, query, limit, self._timed, ("id",), members=_MEMBERS, used=used
        )

    def _timed(self, row: Row) -> TimedState:
        return TimedState(self.model(row), row["next_at"])


_MEMBERS = json_members(PipelineState)
