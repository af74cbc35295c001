"""Kinds of fields that the shapes of several resources have."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from models import MAX_INT64, NAME_PATTERN, NO_NUL_PATTERN

_VISIBLE = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")


def unset() -> Any:
    """The default of a field of an update: `changes()` leaves it out, OpenAPI shows none."""
    return None


def _check_no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul_character", "a text has no NUL character")
    return text


def _check_label(text: str) -> str:
    if not _VISIBLE.match(text):
        raise PydanticCustomError("label", "give something to see, and no NUL")
    return text


def as_seen(name: str) -> str:
    """What people see of a name, in whatever letters, width and blanks it is written: what they
    would take for the service must not be a client's."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(c for c in folded if unicodedata.category(c) not in _UNSEEN)
    return " ".join(seen.split())


_UNSEEN = frozenset({"Cc", "Cf", "Mn", "Me"})
"""Kinds of characters that are not there to the eye, or are marks on others."""

NO_NUL = (AfterValidator(_check_no_nul), Field(json_schema_extra={"pattern": NO_NUL_PATTERN}))
"""For a text of any characters but NUL."""

PositiveInt = Annotated[int, Field(ge=1, le=MAX_INT64)]
Label = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(_check_label),
    Field(json_schema_extra={"pattern": NAME_PATTERN}),
]
"""A name for people to read."""
LeaseToken = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    Field(description="The `lease_token` of the claim."),
]
MaybeLeaseToken = Annotated[
    LeaseToken | None,
    Field(
        description="What a worker sends with all that it writes: 409 `lease_lost` when the run "
        "was given to another meanwhile. Without it nothing is checked."
    ),
]


def _text_only(value: object) -> object:
    if not isinstance(value, str):
        raise _NO_MOMENT
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise _NO_MOMENT from None


_NO_MOMENT = PydanticCustomError("moment", "give a time such as 2026-12-31T12:00:00Z")
Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_text_only), AfterValidator(_in_utc)
]
"""A time with its zone, written as RFC 3339 says."""
