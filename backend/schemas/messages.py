"""Messages of runs: what clients send and receive."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.schemas.base import RequestModel
from backend.schemas.fields import NO_NUL, MaybeLeaseToken
from models import Message, MessageRole

MAX_CONTENT = 50_000

Content = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CONTENT), *NO_NUL]


class MessageCreate(RequestModel):
    """A message to a run."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {"agent_run_id"}

    # Not strict, because JSON has the member's value as a string, which strict mode would refuse.
    role: Annotated[MessageRole, Field(strict=False)]
    content: Content
    continues: bool = Field(
        default=False,
        alias="continue",
        description="Whether the paused run goes on. Only a message with the role `user` can say "
        "so.",
    )
    lease_token: MaybeLeaseToken = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"role": "user", "content": "Use the new colours"}]}
    )


class RunContinue(RequestModel):
    """What a person says to a paused run that goes on; every field is optional."""

    answer_only: ClassVar[frozenset[str]] = frozenset()

    message: Content | None = Field(
        default=None, description="Stored as a message with the role `user`."
    )
    lease_token: MaybeLeaseToken = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"message": "The plan is good, go on"}]}
    )


class MessageList(BaseModel):
    messages: list[Message]
    next_cursor: str | None
