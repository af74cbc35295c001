"""Secrets: what clients send and get."""

from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from backend.schemas.base import RequestModel
from models import MAX_SECRETS_PER_REQUEST, SecretKey, SecretStatus, SecretText, UtcTime


class SecretCreate(RequestModel):
    """One secret. The key may also be sent as `key_name`."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {"status"}

    key: SecretKey
    value: SecretText

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": "API_KEY", "value": "a made-up value"}]}
    )

    @model_validator(mode="before")
    @classmethod
    def _take_key_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "key_name" in data and "key" not in data:
            return {("key" if name == "key_name" else name): v for name, v in data.items()}
        return data


class SecretValue(RequestModel):
    """A value. The answer to a reveal can be sent back as it is: the key comes from the path."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {"status", "key"}

    value: SecretText

    model_config = ConfigDict(json_schema_extra={"examples": [{"value": "a made-up value"}]})


def _refuse_repeated_keys(secrets: list[SecretCreate]) -> list[SecretCreate]:
    seen: dict[str, int] = {}
    for index, secret in enumerate(secrets):
        first = seen.setdefault(secret.key, index)
        if first != index:
            error = PydanticCustomError(
                "repeated_key",
                "entries {first} and {second} have the same key",
                {"first": first, "second": index},
            )
            # With the place of the second one, and without any value.
            raise ValidationError.from_exception_data(
                "SecretBatch", [{"type": error, "loc": (index, "key"), "input": None}]
            )
    return secrets


SecretBatch = Annotated[
    list[SecretCreate],
    Field(max_length=MAX_SECRETS_PER_REQUEST, description="Each key at most once."),
    AfterValidator(_refuse_repeated_keys),
]


class SecretsUpsert(RequestModel):
    secrets: SecretBatch

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"secrets": [{"key": "API_KEY", "value": "a made-up value"}]}]
        }
    )


class SecretMetadata(BaseModel):
    """A secret without its value: `value` is always null."""

    id: int
    project_id: int
    key: str
    value: None = None
    version: int
    status: SecretStatus
    created_at: UtcTime
    updated_at: UtcTime


class SecretList(BaseModel):
    secrets: list[SecretMetadata]
    next_cursor: str | None


class SecretUpsertResult(BaseModel):
    created: int
    updated: int
    unchanged: int


class SecretReveal(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    key: str
    value: str = Field(repr=False)
    version: int
