# Made of strongroom/_async by `make schema`: change it there.
"""What people and agents say to each other."""

from strongroom._operations import operation
from strongroom._sync.pages import Pages
from strongroom._sync.resource import Resource
from strongroom._sync.streams import Stream
from strongroom._sync.transport import parsed
from strongroom._values import UNSET, Unset, fields, filters
from strongroom.models import Message, MessageList, MessageRole


class Messages(Resource):
    """`client.messages`."""

    @operation("addMessage")
    def create(
        self,
        run_id: int,
        *,
        role: MessageRole,
        content: str,
        continue_: bool | Unset = UNSET,
        lease_token: str | Unset | None = UNSET,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> Message:
        """Add a message to the run's conversation. A message of the user with `continue_=True` also
        lets the paused run go on, in the same transaction."""
        response = self._transport.post(
            f"/api/agent-runs/{run_id}/messages",
            fields(role=role, content=content, continue_=continue_, lease_token=lease_token),
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(Message, response)

    @operation("listMessages")
    def list(
        self,
        run_id: int,
        *,
        role: MessageRole | None = None,
        after_id: int | str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Message, MessageList]:
        """The run's messages, newest first, or with `after_id` oldest first."""
        return Pages(
            self._transport,
            f"/api/agent-runs/{run_id}/messages",
            filters(role=role, after_id=after_id, limit=limit, cursor=cursor),
            MessageList,
            lambda page: page.messages,
        )

    @operation("listMessages")
    def stream(
        self, run_id: int, *, after: int | str | None = None, role: MessageRole | None = None
    ) -> Stream[Message]:
        """Messages as they are added: those after this id, 0 for the oldest; by default from now
        on. `for` never ends, and connects again by itself."""
        query = filters(after_id=after, role=role)
        return Stream(self._transport, f"/api/agent-runs/{run_id}/messages", query, Message)
