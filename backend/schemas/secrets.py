"""Secrets: what clients send and receive."""

from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from backend.schemas.base import RequestModel
from models import MAX_SECRETS_PER_REQUEST, SecretKey, SecretStatus, SecretText, UtcTime


def _refuse_bare_null(data: dict[str, Any]) -> None:
    """Metadata that a client has read contains a null value and a version. Sent back, it leaves the
    value unchanged. Null without a version is a mistake, such as an unset variable."""
    if data.get("value", "") is None and "version" not in data:
        raise ValidationError.from_exception_data(
            "Secret", [{"type": "string_type", "loc": ("value",), "input": None}]
        )


class _KeyedSecret(RequestModel):
    """A secret with its key, which may also be sent as `key_name`."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {"status"}

    key: SecretKey

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The fields with `key`, which may also be named `key_name`."""
        _refuse_bare_null(data)
        if "key_name" in data and "key" not in data:
            return {("key" if name == "key_name" else name): v for name, v in data.items()}
        return data


class SecretCreate(_KeyedSecret):
    """One secret. The key may also be sent as `key_name`."""

    value: SecretText

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": "API_KEY", "value": "a made-up value"}]}
    )


ValueOrNone = Annotated[
    SecretText | None,
    Field(
        description="Null is accepted only in metadata sent back as it was read, and leaves the "
        "value unchanged.",
        json_schema_extra={"writeOnly": True},
    ),
]


class SecretUpsert(_KeyedSecret):
    """One secret with its new value, or its metadata as it was read, which changes nothing."""

    value: ValueOrNone


class SecretValue(RequestModel):
    """A value. The secret's metadata can be sent back as read: the key comes from the path."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {"status", "key"}

    value: ValueOrNone

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The fields, without a null value that is a mistake."""
        _refuse_bare_null(data)
        return data

    model_config = ConfigDict(json_schema_extra={"examples": [{"value": "a made-up value"}]})


Keyed = TypeVar("Keyed", bound=_KeyedSecret)


def _refuse_repeated_keys(secrets: list[Keyed]) -> list[Keyed]:
    seen: dict[str, int] = {}
    for index, secret in enumerate(secrets):
        first = seen.setdefault(secret.key, index)
        if first != index:
            error = PydanticCustomError(
                "repeated_key",
                "entries {first} and {second} have the same key",
                {"first": first, "second": index},
            )
            # With the place of the second entry, and without a value.
            raise ValidationError.from_exception_data(
                "SecretBatch", [{"type": error, "loc": (index, "key"), "input": None}]
            )
    return secrets


_ONCE = (
    Field(max_length=MAX_SECRETS_PER_REQUEST, description="Each key at most once."),
    AfterValidator(_refuse_repeated_keys),
)
SecretBatch = Annotated[list[SecretCreate], *_ONCE]


class SecretsUpsert(RequestModel):
    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {"next_cursor"}

    secrets: Annotated[list[SecretUpsert], *_ONCE]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"secrets": [{"key": "API_KEY", "value": "a made-up value"}]}]
        }
    )


class SecretMetadata(BaseModel):
    """A secret without its value: `value` is always null."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    id: int
    project_id: int
    key: str
    # Not of the type null alone: openapi-fetch leaves out such a member.
    value: Annotated[
        None,
        WithJsonSchema({"type": ["string", "null"], "maxLength": 0, "description": "Always null."}),
    ] = None
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
