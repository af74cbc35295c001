"""What callers give, as bodies and queries, and what must not be shown."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, SecretStr


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.value


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
"""Leaves a field as it is, where None would clear it."""

Secret = str | SecretStr
"""A value that is sent, and shown nowhere."""


class SecretValues(dict[str, str]):
    """Values of secrets by key. It is a dict, but does not show the values when it is printed.
    `versions` has their versions by key."""

    def __init__(self, values: Mapping[str, str], versions: Mapping[str, int]) -> None:
        super().__init__(values)
        self.versions = dict(versions)

    def __repr__(self) -> str:
        return f"SecretValues({', '.join(f'{key}=…' for key in self)})"

    __str__ = __repr__


def fields(**given: Any) -> dict[str, Any]:
    """The fields that were given. `continue_` is `continue`, which is a word of Python."""
    return {name.removesuffix("_"): value for name, value in given.items() if value is not UNSET}


def filters(**given: Any) -> dict[str, Any]:
    """Those parameters of a query that were given, as text. A list is a parameter for each of its
    values. `from_` is `from`, which is a word of Python."""
    return {
        name.removesuffix("_"): _parameter(value)
        for name, value in given.items()
        if value is not None
    }


def _parameter(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, Iterable):
        return [_parameter(one) for one in value]
    return str(value)


def _time(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("a time needs a time zone: use datetime.now(timezone.utc), for example")
    return value.isoformat()


def encode(body: Any) -> bytes:
    """The body as JSON. Models are sent with the fields that were set."""
    text = json.dumps(body, default=_plain, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        # The error itself has the whole text in it.
        raise ValueError(
            "the text has half of a surrogate pair, which UTF-8 does not have"
        ) from None


def _plain(value: Any) -> Any:
    """What JSON does not have, in types that it has. What must not be shown is read out."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


def tag(version: int | str | None) -> str | None:
    """The entity tag of a version; a text is taken as it is."""
    return f'"v{version}"' if isinstance(version, int) else version


Pairs = Mapping[str, Secret] | Iterable[Mapping[str, Any]]
"""`{"KEY": "value"}`, or `[{"key": "KEY", "value": "value", "redact": False}]`."""


def secret_pairs(secrets: Pairs) -> list[Any]:
    """Secrets in the form of a request."""
    if isinstance(secrets, Mapping):
        return [{"key": key, "value": value} for key, value in secrets.items()]
    return list(secrets)


def segment(text: str) -> str:
    """A text as one segment of a path. It never leads to another resource."""
    if not text:
        raise ValueError("an empty text names nothing")
    quoted = quote(text, safe="")
    # Clients and proxies take these two for folders.
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted
