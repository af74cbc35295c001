"""Messages as a feed."""

from collections.abc import Collection

from backend.repositories.message_repository import MessageFilter
from backend.services.base import Kit
from backend.services.feeds import Entry
from backend.services.row_feed import RowFeed, Rows
from models import Message


class MessageFeed(RowFeed[MessageFilter, Message]):
    """The messages of all runs, in the order of their ids."""

    name = "messages"
    table = "messages"
    everything = MessageFilter()

    def __init__(self, kit: Kit, rows: Rows[MessageFilter, Message]) -> None:
        super().__init__(kit, rows)
        self._units = kit
        self._removals = kit.db_manager.async_pool.table_versions.counting(
            [("agent_runs", "delete")]
        )

    def admits(self, wanted: MessageFilter, entry: Entry) -> bool:
        """Whether the filter would find the message."""
        message: Message = entry.traits
        return wanted.agent_run_id in (None, message.agent_run_id) and wanted.role in (
            None,
            message.role,
        )

    @property
    def removals(self) -> int | None:
        """Counts the commits that remove runs."""
        return self._removals.version

    async def removed(self, wanted: Collection[MessageFilter]) -> Collection[MessageFilter]:
        """The filters of runs that were removed."""
        ids = {one.agent_run_id for one in wanted if one.agent_run_id is not None}
        left = await self._units.repositories.messages.runs_among(sorted(ids))
        return [one for one in wanted if one.agent_run_id in ids - left]
