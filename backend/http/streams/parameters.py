"""The parameters of requests for what follows a place in a feed."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from backend.services.places import Place

ID_PATTERN = r"^([1-9][0-9]{0,18}-)?(0|[1-9][0-9]{0,18})$"


def _place(text: str) -> str:
    try:
        Place.parse(text)
    except ValueError:
        raise PydanticCustomError(
            "place", "Input should be an id, alone or behind its epoch and a hyphen"
        ) from None
    return text


AfterId = Annotated[str, Field(json_schema_extra={"pattern": ID_PATTERN}), AfterValidator(_place)]
"""The id of an entry, as it comes in a stream or in a list."""


def place_of(after: str | None) -> Place | None:
    """The place in a parameter with the type `AfterId`."""
    return Place.parse(after) if after is not None else None
