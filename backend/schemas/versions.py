"""Versions of configurations and secrets: what clients send and receive."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas.base import RequestModel
from models import MAX_INT64, UtcTime


class VersionStatus(StrEnum):
    OK = "ok"
    UNREADABLE = "unreadable"
    """It can't be decrypted, or was changed outside the service."""
    DESTROYED = "destroyed"
    """Its value is gone for good."""


class _Version(BaseModel):
    """Who made a version, and when."""

    version: int
    created_at: UtcTime = Field(description="When this version was made.")
    actor: str | None = Field(
        description="Who made it; null for a version from before versions were kept."
    )
    status: VersionStatus


class ConfigurationVersion(_Version):
    """A version of a configuration, without its content."""

    fields: list[str] | None = Field(
        description="The names of the fields that it changed; null if they are not known."
    )


class SecretVersion(_Version):
    """A version of a secret, without its value."""

    fields: list[str] = Field(description="Always `value`.")
    deleted_at: UtcTime | None = Field(
        description="When the secret was deleted in this version; null for the others, and once "
        "nothing can be restored."
    )
    destroyed_at: UtcTime | None = Field(
        description="When the value was destroyed; null as long as there is one."
    )


class ConfigurationVersionList(BaseModel):
    versions: list[ConfigurationVersion]
    next_cursor: str | None


class SecretVersionList(BaseModel):
    versions: list[SecretVersion]
    next_cursor: str | None


class ConfigurationDiff(BaseModel):
    """The differences between two versions of a configuration."""

    model_config = ConfigDict(populate_by_name=True)

    from_version: int = Field(alias="from")
    to_version: int = Field(alias="to")
    fields: dict[str, str] = Field(
        description="The fields that differ, each with a unified diff of its lines; `/dev/null` "
        "stands for null."
    )


class Rollback(RequestModel):
    """The version to go back to."""

    answer_only: ClassVar[frozenset[str]] = frozenset()

    version: Annotated[int, Field(ge=1, le=MAX_INT64)]

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 1}]})
