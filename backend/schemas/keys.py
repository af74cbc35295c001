"""Master keys and their rotation: what administrators send and receive. Only ids, never a key."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas.base import RequestModel
from models import UtcTime


class MasterKeyStatus(BaseModel):
    """What one master key protects."""

    id: str
    configured: bool
    current: bool = Field(description="Whether new keys are wrapped under this key.")
    installation: bool = Field(
        description="Whether the installation's own key is wrapped under it."
    )
    project_keys: int
    secrets: int
    answer_keys: int = Field(
        description="Keys of the answers that are stored for idempotency keys: one, and more "
        "during a rotation."
    )
    removable: bool = Field(
        description="Whether the key can be removed from the configuration, because nothing "
        "needs it."
    )


class RotationProgress(BaseModel):
    """The progress of a rotation. `total` is the sum of `done`, `failed` and the keys still to
    do."""

    id: int
    status: Literal["running", "finished"]
    reencrypt: bool
    total: int = Field(
        description="Keys: one for each project, the installation's own, and those of stored "
        "answers."
    )
    done: int
    failed: int = Field(
        description="Keys that can't be read, or that protect values that can't be read."
    )
    started_at: UtcTime
    finished_at: UtcTime | None


class KeyStatus(BaseModel):
    keys: list[MasterKeyStatus]
    rotation: RotationProgress | None = Field(description="The latest rotation, if there was one.")


class RotationRequest(RequestModel):
    """What to do besides wrapping all keys under the current master key."""

    reencrypt: bool = Field(
        default=False,
        description="Also give each project a new key, and encrypt its values again with it.",
    )

    model_config = ConfigDict(json_schema_extra={"examples": [{"reencrypt": True}]})
