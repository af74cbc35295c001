"""Types of fields that several resources share."""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from models import MAX_INT64, NO_NUL_PATTERN, is_visible, name_rules


def unset() -> Any:
    """The default of an update's field: `given_fields()` omits it, OpenAPI shows no default."""
    return None


def _check_no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul_character", "must not contain a NUL character")
    return text


def as_seen(name: str) -> str:
    """A name as people see it, independent of case, width and white space. It is compared with
    reserved names, so that a client can't choose a name that looks like the service's."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(c for c in folded if is_visible(c) or unicodedata.category(c)[0] == "Z")
    return " ".join(seen.split())


NO_NUL = (AfterValidator(_check_no_nul), Field(json_schema_extra={"pattern": NO_NUL_PATTERN}))
"""For a text that may contain any character except NUL."""

PositiveInt = Annotated[int, Field(ge=1, le=MAX_INT64)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=255), *name_rules("label")]
"""A name for people to read."""
LeaseToken = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    Field(description="The `lease_token` of the claim."),
]
MaybeLeaseToken = Annotated[
    LeaseToken | None,
    Field(
        description="A worker sends it with every write, which gets 409 `lease_lost` if another "
        "worker has the run by then. Without it, the lease is not checked."
    ),
]
