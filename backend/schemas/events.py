"""The shapes of events in answers."""

from pydantic import BaseModel, Field

from models import UtcTime


class Event(BaseModel):
    """A change, as seen from outside."""

    id: int = Field(description="Rises by one from each event to the next.")
    at: UtcTime
    kind: str = Field(examples=["agent_run.completed"])
    project_id: int | None
    resource: str = Field(
        description="The path of the changed resource below `/api/`.", examples=["agent-runs/7"]
    )
    version: int | None = Field(
        description="The version that the resource got; null where it has none."
    )
    actor: str = Field(
        description="The name of the token; `system` for the service and its commands."
    )
    fields: list[str] = Field(description="The names of the changed fields; never a value.")


class EventList(BaseModel):
    """A page of events."""

    events: list[Event]
    next_cursor: str | None
