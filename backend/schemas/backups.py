"""Backups: what administrators get."""

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas.base import RequestModel
from models import UtcTime


class BackupRequest(RequestModel):
    """There is nothing to choose: where a backup goes is not for a request to say."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class BackupVerified(BaseModel):
    """What was found whole in a backup, before it got its name."""

    integrity: bool = Field(description="Every page, table and index of the file.")
    references: bool = Field(description="Every row that another one refers to is there.")
    schema_version: int = Field(description="The number of its newest migration.")
    master_keys: list[str] = Field(
        description="Ids of the keys without which it can't be read, each held against its canary. "
        "The keys themselves are not in it."
    )
    audit_entries: int = Field(
        description="Length of the audit's chain, held against the heads exported before."
    )
    rows: dict[str, int] = Field(description="By table, as many as the database had then.")


class Backup(BaseModel):
    """A file that `strongroom restore` takes."""

    name: str = Field(examples=["strongroom-20260102T030405.678901Z.db"])
    size_bytes: int
    created_at: UtcTime


class BackupCreated(Backup):
    """A backup that was made and verified now."""

    sha256: str
    duration_seconds: float
    verified: BackupVerified


class BackupList(BaseModel):
    backups: list[Backup]
    next_cursor: str | None
