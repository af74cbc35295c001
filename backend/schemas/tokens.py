"""API tokens: what administrators send and receive."""

import re
from datetime import datetime, timedelta
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from backend.schemas.base import RequestModel
from backend.schemas.fields import Label, PositiveInt, as_seen
from models import Moment, Scope, UtcTime

MAX_TOKEN_PROJECTS = 500
MAX_LIFETIME = timedelta(days=3650)

_LIFETIME_PATTERN = r"^[1-9][0-9]{0,8}[smhdw]$"
_LIFETIME = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def lifetime_seconds(value: object) -> int:
    """The seconds of `90d`, `12h`, `30m`, `45s`, `2w` or of a number of seconds.

    Raises `PydanticCustomError` (a `ValueError`) for anything else, and above ten years.
    """
    seconds = 0
    if isinstance(value, str) and (match := _LIFETIME.fullmatch(value)):
        seconds = int(match[1]) * _UNITS[match[2]]
    elif isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    if not 1 <= seconds <= MAX_LIFETIME.total_seconds():
        raise PydanticCustomError(
            "lifetime", "must be a duration such as 90d, 12h or 30m, of at most 3650 days"
        )
    return seconds


Lifetime = Annotated[
    int,
    BeforeValidator(lifetime_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _LIFETIME_PATTERN},
                {"type": "integer", "minimum": 1, "maximum": int(MAX_LIFETIME.total_seconds())},
            ],
            "examples": ["90d"],
        }
    ),
]
"""A duration in seconds."""


RESERVED_NAMES = frozenset({"system", "anonymous"})
"""The names of actors without a token in the audit."""


def _refuse_reserved(name: str) -> str:
    if as_seen(name) in RESERVED_NAMES:
        raise PydanticCustomError(
            "reserved_name",
            "this name is reserved for the service in the audit: choose another one",
        )
    return name


class TokenCreate(RequestModel):
    """A token to create. Without an expiry it is valid until it is revoked."""

    answer_only: ClassVar[frozenset[str]] = RequestModel.answer_only | {
        "token",
        "last_used_at",
        "revoked_at",
    }

    name: Annotated[Label, AfterValidator(_refuse_reserved)] = Field(
        description="Who or what uses the token, as the audit will name it. `system` and "
        "`anonymous` are reserved."
    )
    scopes: Annotated[
        list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, max_length=len(Scope))
    ]
    project_ids: (
        Annotated[list[PositiveInt], Field(min_length=1, max_length=MAX_TOKEN_PROJECTS)] | None
    ) = Field(
        default=None, description="The only projects that the token can see; null for all of them."
    )
    expires_in: Lifetime | None = Field(
        default=None, description="How long the token is valid: `90d`, `12h`, `30m`, or seconds."
    )
    expires_at: Moment | None = Field(
        default=None, description="When the token expires; give either this or `expires_in`."
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "deploy",
                    "scopes": ["projects:read", "secrets:reveal"],
                    "project_ids": [1],
                }
            ]
        }
    )

    def expiry(self, now: datetime) -> datetime | None:
        """When the token expires; None if it does not."""
        if self.expires_in is not None:
            return now + timedelta(seconds=self.expires_in)
        return self.expires_at


class TokenInfo(BaseModel):
    """A token without its secret part."""

    id: int
    name: str
    scopes: list[str]
    project_ids: list[int] | None
    created_at: UtcTime
    expires_at: UtcTime | None
    last_used_at: UtcTime | None = Field(description="May lag by a minute after a crash.")
    revoked_at: UtcTime | None


class TokenCreated(TokenInfo):
    """A new token. Only this answer shows it."""

    token: str = Field(repr=False)


class TokenIdentity(BaseModel):
    """What the token of a request is."""

    id: int | None = Field(description="Null when authentication is off.")
    name: str
    scopes: list[str]
    project_ids: list[int] | None = Field(
        description="The only projects that the token can see; null for all of them."
    )
    expires_at: UtcTime | None = Field(description="When the token expires; null if it does not.")
    session_expires_at: UtcTime | None = Field(
        description="When the session of the request ends; null without a session."
    )


class SessionCreate(RequestModel):
    """The token that signs in."""

    token: SecretStr = Field(
        max_length=1000, description="A valid token.", json_schema_extra={"examples": ["sr_1_…"]}
    )

    model_config = ConfigDict(json_schema_extra={"examples": [{"token": "sr_1_…"}]})


class TokenList(BaseModel):
    tokens: list[TokenInfo]
    next_cursor: str | None
