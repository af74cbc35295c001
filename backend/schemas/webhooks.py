"""Webhooks and their deliveries: what clients send and receive."""

from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from backend.schemas.base import RequestModel
from backend.schemas.fields import unset
from models import HttpUrl, SecretText, Webhook, WebhookDelivery, WebhookType

MAX_EVENTS = 100
EVENT_PATTERN = r"^[a-z0-9_.*-]{1,100}$"


def _refuse_repeated(events: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    for index, event in enumerate(events):
        first = seen.setdefault(event, index)
        if first != index:
            raise PydanticCustomError(
                "repeated_event",
                "entries {first} and {second} are the same event",
                {"first": first, "second": index},
            )
    return events


# Not strict, because JSON has the member's value as a string, which strict mode would refuse.
AnyWebhookType = Annotated[WebhookType, Field(strict=False)]
EventName = Annotated[str, StringConstraints(pattern=EVENT_PATTERN)]
EventList = Annotated[
    list[EventName],
    Field(
        max_length=MAX_EVENTS,
        description="Each event at most once, in the order given.",
        json_schema_extra={"uniqueItems": True},
    ),
    AfterValidator(_refuse_repeated),
]
MIN_SECRET_TOKEN = 8


def _refuse_short(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < MIN_SECRET_TOKEN:
        raise PydanticCustomError(
            "secret_token_short",
            "must have at least {least} characters",
            {"least": MIN_SECRET_TOKEN},
        )
    return token


SecretToken = Annotated[
    Annotated[
        SecretText,
        AfterValidator(_refuse_short),
        Field(
            description="8 characters to 64 KiB of UTF-8, without NUL characters.",
            json_schema_extra={"minLength": MIN_SECRET_TOKEN},
        ),
    ]
    | None,
    Field(
        description="The secret that signs deliveries. It is stored encrypted and never shown; "
        "with null, every delivery is refused."
    ),
]

_ANSWER_ONLY = RequestModel.answer_only | {"has_secret_token", "last_triggered_at"}


class WebhookCreate(RequestModel):
    """A webhook of a project."""

    answer_only: ClassVar[frozenset[str]] = _ANSWER_ONLY

    webhook_type: AnyWebhookType
    webhook_url: HttpUrl | None = None
    events: EventList = Field(default_factory=list)
    is_active: bool = True
    secret_token: SecretToken = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "webhook_type": "github_pr",
                    "webhook_url": "https://hooks.example.com/github",
                    "events": ["pull_request", "check_run"],
                    "secret_token": "a made-up value",
                }
            ]
        }
    )


class WebhookUpdate(RequestModel):
    """Fields left out stay as they are; null clears `webhook_url` and `secret_token`."""

    answer_only: ClassVar[frozenset[str]] = _ANSWER_ONLY

    webhook_type: AnyWebhookType = Field(default_factory=unset)
    webhook_url: HttpUrl | None = Field(default_factory=unset)
    events: EventList = Field(default_factory=unset)
    is_active: bool = Field(default_factory=unset)
    secret_token: SecretToken = Field(default_factory=unset)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"is_active": False}, {"secret_token": "a new value"}]}
    )


class WebhookList(BaseModel):
    webhooks: list[Webhook]
    next_cursor: str | None


class WebhookDeliveryList(BaseModel):
    deliveries: list[WebhookDelivery]
    next_cursor: str | None


class WebhookDeliveryFull(WebhookDelivery):
    """A delivery with its payload, as it arrived."""

    payload: dict[str, Any]
