"""Master keys and their rotation: what administrators send and get. Ids only, never a key."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas.base import RequestModel
from models import UtcTime


class MasterKeyStatus(BaseModel):
    """What is protected by one master key."""

    id: str
    configured: bool
    current: bool = Field(description="Whether new keys are wrapped under it.")
    installation: bool = Field(description="Whether the installation's own key is.")
    project_keys: int
    secrets: int
    removable: bool = Field(
        description="Whether it can be taken out of the configuration: nothing needs it."
    )


class RotationProgress(BaseModel):
    """How far a rotation is. `total` is `done`, `failed`, and what is still to come."""

    id: int
    status: Literal["running", "finished"]
    reencrypt: bool
    total: int = Field(description="Keys: one for each project and the installation's own.")
    done: int
    failed: int = Field(description="Keys that can't be read, or have values that can't be.")
    started_at: UtcTime
    finished_at: UtcTime | None


class KeyStatus(BaseModel):
    keys: list[MasterKeyStatus]
    rotation: RotationProgress | None = Field(description="The newest one, if there was any.")


class RotationRequest(RequestModel):
    """What is to be done beside wrapping all keys under the current master key."""

    reencrypt: bool = Field(
        default=False,
        description="Give each project a new key as well, and encrypt all its values anew.",
    )

    model_config = ConfigDict(json_schema_extra={"examples": [{"reencrypt": True}]})
