"""Secrets: what clients send and receive."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from backend.schemas.base import RequestModel
from backend.schemas.dotenv_reading import MAX_DOTENV_BYTES, RejectedLine
from models import MAX_SECRETS_PER_REQUEST, SecretKey, SecretStatus, SecretText, UtcTime

_REDACT = (
    "Whether the value is replaced where it stands in logs, results, error messages and metadata "
    "that are stored from now on."
)


def _refuse_bare_null(data: dict[str, Any]) -> None:
    """Metadata that a client has read contains a null value and a version. Sent back, it leaves the
    value unchanged. Null without a version is a mistake, such as an unset variable."""
    if data.get("value", "") is None and "version" not in data:
        raise ValidationError.from_exception_data(
            "Secret", [{"type": "string_type", "loc": ("value",), "input": None}]
        )


def _with_value(data: dict[str, Any]) -> dict[str, Any]:
    """The fields with a null value if they lack it and have `redact`, which may change alone."""
    return {**data, "value": None} if "redact" in data and "value" not in data else data


def _value_is_optional(schema: dict[str, Any]) -> None:
    """`value` may be left out where `_with_value` adds it."""
    schema["required"] = [name for name in schema["required"] if name != "value"]


def _described_value(schema: dict[str, Any]) -> None:
    _value_is_optional(schema)
    schema["examples"] = [{"value": "a made-up value"}]


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
    redact: bool = Field(default=True, description=_REDACT)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": "API_KEY", "value": "a made-up value"}]}
    )


MaybeRedact = Annotated[
    bool | None, Field(description=f"{_REDACT} By default as before; true for a new secret.")
]
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
    redact: MaybeRedact = None

    model_config = ConfigDict(json_schema_extra=_value_is_optional)

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The fields with `key` and `value`."""
        return _with_value(super().prepared(data))


class SecretValue(RequestModel):
    """A value. The secret's metadata can be sent back as read: the key comes from the path."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {"status", "key"}

    value: ValueOrNone
    redact: MaybeRedact = None

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The fields, without a null value that is a mistake."""
        _refuse_bare_null(data)
        return _with_value(data)

    model_config = ConfigDict(json_schema_extra=_described_value)


Keyed = TypeVar("Keyed", bound=_KeyedSecret)


def _refuse_repeated_keys(secrets: list[Keyed]) -> list[Keyed]:
    _require_distinct([secret.key for secret in secrets], "key")
    return secrets


def _refuse_repeated_names(keys: list[str]) -> list[str]:
    _require_distinct(keys)
    return keys


def _require_distinct(keys: list[str], *place: str) -> None:
    """Raises `ValidationError` for the first key that is repeated, which stands at `place` in its
    entry."""
    seen: dict[str, int] = {}
    for index, key in enumerate(keys):
        first = seen.setdefault(key, index)
        if first != index:
            error = PydanticCustomError(
                "repeated_key",
                "entries {first} and {second} have the same key",
                {"first": first, "second": index},
            )
            # With the place of the second entry, and without a value.
            raise ValidationError.from_exception_data(
                "SecretBatch", [{"type": error, "loc": (index, *place), "input": None}]
            )


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
    redact: bool = Field(description=_REDACT)
    created_at: UtcTime
    updated_at: UtcTime


class SecretList(BaseModel):
    secrets: list[SecretMetadata]
    next_cursor: str | None


class SecretUpsertResult(BaseModel):
    created: int
    updated: int
    unchanged: int


class SecretsToReveal(RequestModel):
    """Which secrets: those with these keys, or all without `keys`."""

    keys: (
        Annotated[
            list[SecretKey],
            Field(min_length=1, max_length=MAX_SECRETS_PER_REQUEST),
            AfterValidator(_refuse_repeated_names),
        ]
        | None
    ) = Field(
        default=None, description="Only these, each named once; by default all of the project."
    )

    model_config = ConfigDict(json_schema_extra={"examples": [{"keys": ["API_KEY"]}]})


class SecretsReveal(BaseModel):
    """Values of one moment, by key, and the version of each."""

    model_config = ConfigDict(hide_input_in_errors=True)

    secrets: dict[str, str] = Field(repr=False)
    versions: dict[str, int]


class DotenvUpload(RequestModel):
    """A dotenv file in JSON."""

    dotenv: Annotated[
        SecretStr,
        Field(
            description="The content of the file, of at most 1 MiB.",
            json_schema_extra={"writeOnly": True, "maxLength": MAX_DOTENV_BYTES},
        ),
    ]

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dotenv": "API_KEY='a made-up value'\n"}]}
    )


def _file_or_json(body: Any) -> Any:
    return body if isinstance(body, bytes) else DotenvUpload.model_validate(body)


DotenvFileOrJson = Annotated[DotenvUpload | SkipJsonSchema[bytes], BeforeValidator(_file_or_json)]
"""The bytes are those of a file; no JSON has bytes."""


class SecretImport(BaseModel):
    """What an import does with the variables of a file: their keys, in the order of the file."""

    created: list[str]
    updated: list[str]
    unchanged: list[str]
    rejected: list[RejectedLine] = Field(
        description="Lines that can't be imported. Empty unless it is a preview, because otherwise "
        "a file with such a line gets 422."
    )


class SecretReveal(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    key: str
    value: str = Field(repr=False)
    version: int


class FoundSecret(BaseModel):
    """A place where a secret's value stands."""

    key: str
    resource: str = Field(
        description="What has the value: `GET /api/<resource>` shows it. `logs` are those of the "
        "project, and `agent-runs/7/logs` those of a run, which are logs with `agent_run_id`.",
        examples=["agent-runs/7/test-results"],
    )
    count: int = Field(description="How often the value stands there, as it is or encoded.")
    fields: list[str] = Field(description="The fields that have it.", examples=[["error_message"]])
    first_at: UtcTime = Field(description="When the oldest of these rows was stored.")
    last_at: UtcTime = Field(description="When the newest of these rows was stored.")


class SkippedSecretReason(StrEnum):
    """Why a secret was not looked for."""

    TOO_SHORT = "too_short"
    UNREADABLE = "unreadable"


class SkippedSecret(BaseModel):
    """A secret that was not looked for."""

    key: str
    reason: SkippedSecretReason = Field(
        description="`too_short`: its value has fewer than 12 characters, which stand in ordinary "
        "text too often; `unreadable`: its value can't be decrypted."
    )


class SecretScanResult(BaseModel):
    """Where the present values of a project's secrets stand."""

    found: list[FoundSecret] = Field(
        description="Up to about 500 places. A resource with many rows, such as the logs, may be "
        "in several answers of a scan: add up the counts."
    )
    skipped: list[SkippedSecret] = Field(
        description="The secrets that were not looked for; only in the first answer of a scan."
    )
    missing_scopes: list[str] = Field(
        description="Scopes that the token lacks: what they show was not searched."
    )
    next_cursor: str | None = Field(
        description="Send it as `cursor` to go on; null when all texts were searched."
    )
