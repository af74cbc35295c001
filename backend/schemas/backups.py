"""Backups: what administrators receive."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas.base import RequestModel
from models import UtcTime


class BackupRequest(RequestModel):
    """An empty object: a request can't choose where the backup goes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class BackupVerified(BaseModel):
    """What was verified in the backup before it was published."""

    integrity: bool = Field(
        description="Whether every page, table and index of the file is intact."
    )
    references: bool = Field(description="Whether every row that another row refers to exists.")
    schema_version: int = Field(description="The number of the newest migration in the backup.")
    master_keys: list[str] = Field(
        description="Ids of the master keys needed to read the backup, each checked against its "
        "canary. The keys themselves are not in the backup."
    )
    audit_entries: int = Field(
        description="Length of the audit chain, checked against the heads exported before."
    )
    rows: dict[str, int] = Field(description="Rows by table, as many as the database had.")


class Backup(BaseModel):
    """A file that `strongroom restore` takes."""

    name: str = Field(examples=["strongroom-20260102T030405.678901Z.db"])
    size_bytes: int
    created_at: UtcTime


class BackupCreated(Backup):
    """A backup that has just been made and verified."""

    sha256: str
    duration_seconds: float
    verified: BackupVerified


class BackupProgress(NamedTuple):
    """How far the running backup is; the same as nothing done when none is running."""

    share: float = 0.0
    """The share that is done, from 0 to 1."""
    seconds_left: float = 0.0
    """An estimate; 0 while too little is done."""


class BackupList(BaseModel):
    backups: list[Backup]
    next_cursor: str | None
