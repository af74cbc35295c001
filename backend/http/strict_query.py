"""Checks query strings: percent-encoded UTF-8, only known parameters, and each of them once."""

import re
from collections.abc import Collection, Iterable
from typing import Any, Self, get_origin
from urllib.parse import unquote_to_bytes

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from starlette.requests import Request

from backend.errors import BadRequest, ValidationFailed

_NAME = re.compile(r"(?!sr_|lt_)[^\W\d][\w$:.~/\[\]-]{0,39}")
"""Matches a text that looks like the name of a parameter and not like one of our tokens. Any other
text could be a value in the wrong place, and is not repeated."""


class StrictQuery:
    """The parameters that the query of a route may have."""

    __slots__ = ("_lists", "_names")

    def __init__(self, names: Iterable[str] = (), lists: Collection[str] = ()) -> None:
        """`names` are the known parameters; those in `lists` may be given more than once."""
        self._names = frozenset(names)
        self._lists = frozenset(lists)

    @classmethod
    def of(cls, dependant: Dependant) -> Self:
        """The parameters that FastAPI found in a route's endpoint and its dependencies."""
        fields = [f for f in get_flat_params(dependant) if isinstance(f.field_info, params.Query)]
        lists = [field.alias for field in fields if _is_list(field.field_info.annotation)]
        return cls((field.alias for field in fields), lists)

    @property
    def names(self) -> frozenset[str]:
        """The known parameters."""
        return self._names

    def check(self, request: Request) -> None:
        """Raises `BadRequest` for an ambiguous query, and `ValidationFailed` for unknown and
        repeated parameters."""
        query: bytes = request.scope["query_string"]
        if not query:
            return
        _check_encoding(query)
        seen: set[str] = set()
        wrong: dict[str, dict[str, Any]] = {}
        # The request caches `query_params` for its route.
        for name, _ in request.query_params.multi_items():
            if name not in self._names:
                wrong.setdefault(name, self._unknown(name))
            elif name in seen and name not in self._lists:
                wrong[name] = _REPEATED | {"loc": ("query", name)}
            seen.add(name)
        if wrong:
            raise ValidationFailed(list(wrong.values()))

    def _unknown(self, name: str) -> dict[str, Any]:
        known = ", ".join(sorted(self._names))
        message = (
            f"this route takes only the parameters {known}"
            if known
            else ("this route takes no query")
        )
        place = ("query", name) if _NAME.fullmatch(name) else ("query",)
        return {"loc": place, "type": "unknown_parameter", "msg": message}


_REPEATED = {"type": "repeated_parameter", "msg": "give this parameter once"}


def _check_encoding(query: bytes) -> None:
    """Raises `BadRequest` for a query that is not UTF-8 or has a NUL: bytes that are not UTF-8
    would be replaced, and text after a NUL would be overlooked."""
    if b"%" not in query and query.isascii():
        return
    try:
        if query.isascii() and "\0" not in unquote_to_bytes(query).decode("utf-8"):
            return
    except UnicodeDecodeError:
        pass
    raise BadRequest("write the query in percent-encoded UTF-8, without NUL")


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) in (list, tuple)
