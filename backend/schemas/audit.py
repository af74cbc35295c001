"""The shapes of audit entries in answers."""

from pydantic import BaseModel, Field

from models import UtcTime


class AuditEntry(BaseModel):
    """Who did what to what, and when."""

    id: int
    at: UtcTime
    actor: str = Field(
        description="The name of the token; `system` for the service and its commands."
    )
    actor_token_id: int | None
    action: str = Field(examples=["secret.revealed"])
    target: str = Field(examples=["projects/1/secrets/API_KEY"])
    project_id: int | None
    fields: list[str] = Field(description="The names of the changed fields; never a value.")
    request_id: str | None
    version: int | None = Field(
        description="The version that the target got; null where it has none."
    )
    address: str | None = Field(
        description="The client's address; null for commands and the service itself.",
        examples=["203.0.113.7"],
    )


class AuditList(BaseModel):
    entries: list[AuditEntry]
    next_cursor: str | None


class ExportedAuditEntry(AuditEntry):
    """An entry with the MAC that proves it."""

    digest: str | None
    mac: str
    previous_mac: str | None = Field(
        description="The MAC of the entry before, if that was removed for its age; else null."
    )
