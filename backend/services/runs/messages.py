"""Use cases for messages: what people and the agent of a run say to each other, and how a paused
run goes on."""

from backend.errors import InvalidField
from backend.repositories import Repositories
from backend.repositories.message_repository import MessageFilter
from backend.repositories.paging import Page
from backend.schemas.messages import MessageCreate, MessageList, RunContinue
from backend.services.base import Kit, UseCases, unit_of_work
from backend.services.feeds import Extent
from backend.services.kinds import Kind
from backend.services.places import Place
from backend.services.preconditions import matched
from backend.services.runs.access import changeable_run, existing_run, require_lease
from backend.services.runs.message_feed import MessageFeed
from backend.services.runs.runs import Runs
from models import MAX_TEXT, AgentRun, Message, MessageRole


class Messages(UseCases):
    """Adding to the conversation of a run, reading and following it."""

    def __init__(self, kit: Kit, runs: Runs) -> None:
        super().__init__(kit)
        self._runs = runs
        self.feed = MessageFeed(kit, self)

    @unit_of_work
    async def add(self, run_id: int, message: MessageCreate) -> Message:
        """Add a message at the end of the run's conversation. If it continues the paused run, the
        run is running again, in the same transaction.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, `LeaseLost`, and
        if it continues the run `InvalidField` for another role than `user`, `InvalidTransition`
        when the run is not paused, and `ChangedOutside` when it can't go on with its project or
        the configuration.
        """
        if message.continues and message.role is not MessageRole.USER:
            raise InvalidField(
                ("continue",),
                "continue_by_user",
                "only a message with the role user can continue a run",
            )
        async with self.transaction() as repositories:
            run = await changeable_run(repositories, run_id)
            # Also if the run stays as it is: the message may be meant for this version only.
            expected = matched(run.version)
            require_lease(run, message.lease_token)
            if message.continues:
                await self._runs.resume(repositories, run, expected)
            return await self._store(repositories, run, message.role, message.content)

    @unit_of_work
    async def continue_run(self, run_id: int, continuation: RunContinue) -> AgentRun:
        """The run, which was paused and is running again, with the user's message if there is one.

        Raises `AgentRunNotFound`, `ProjectNotFound` when its project is deleted, `LeaseLost`,
        `InvalidTransition` when the run is not paused, and `ChangedOutside` when it can't go on
        with its project or the configuration.
        """
        async with self.transaction() as repositories:
            run = await changeable_run(repositories, run_id)
            expected = matched(run.version)
            require_lease(run, continuation.lease_token)
            resumed = await self._runs.resume(repositories, run, expected)
            if continuation.message is not None:
                await self._store(repositories, run, MessageRole.USER, continuation.message)
            return resumed

    async def _store(
        self, repositories: Repositories, run: AgentRun, role: MessageRole, content: str
    ) -> Message:
        """Store a message, and record it. The only place that does."""
        redaction = await self.kit.redactor.begin(repositories, run.project_id)
        text = redaction.text(content, MAX_TEXT)
        added = await repositories.messages.append(run.id, role, text)
        await self.kit.audit.record(
            repositories,
            Kind.MESSAGE_ADDED,
            target=f"agent_runs/{run.id}/messages",
            project_id=run.project_id,
            fields=["content", "role"],
        )
        await self.kit.redactor.record(
            repositories, run.project_id, redaction.take_found(), f"agent-runs/{run.id}/messages"
        )
        return added

    @unit_of_work(read_only=True)
    async def wanted(self, run_id: int, role: MessageRole | None = None) -> MessageFilter:
        """The messages of a run, for a stream. Raises `AgentRunNotFound`."""
        async with self.transaction() as repositories:
            await existing_run(repositories, run_id)
        return MessageFilter(run_id, role)

    @unit_of_work(read_only=True)
    async def page(
        self,
        run_id: int,
        *,
        role: MessageRole | None = None,
        after: Place | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> MessageList:
        """One page of a run's messages: newest first, or those behind the place `after`, oldest
        first.

        Raises `AgentRunNotFound`, `BadCursor`, and `BadRequest` for a place in another epoch.
        """
        bound = (run_id, role, *([after] if after is not None else ()))
        listing = self.kit.listing("messages", *bound, cursor=cursor)
        filter = await self.wanted(run_id, role)
        if after is not None:
            page = await self.following(filter, await self.feed.begin(after, listing), None, limit)
        else:
            async with self.transaction() as repositories:
                page = await repositories.messages.page(filter, limit=limit, after=listing.after)
        return listing.answer(MessageList, page, messages=page.items)

    @unit_of_work(read_only=True)
    async def following(
        self, filter: MessageFilter, after_id: int, until_id: int | None, limit: int
    ) -> Page[Message]:
        """Up to `limit` messages after the id `after_id` and up to `until_id`, oldest first."""
        async with self.transaction() as repositories:
            return await repositories.messages.following(filter, after_id, until_id, limit)

    @unit_of_work(read_only=True)
    async def extent(self) -> Extent:
        """Which messages there are. Those of a run are removed with it, so that no stream of a run
        can have missed one."""
        async with self.transaction() as repositories:
            epoch, last_id = await repositories.messages.extent()
        return Extent(epoch, 0, last_id)
