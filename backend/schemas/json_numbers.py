"""Numbers of JSON texts: read as what they are, or as `UNKEPT`."""

import re
from decimal import Decimal
from types import EllipsisType
from typing import Final

from pydantic_core import to_json

UNKEPT: Final = ...
"""Stands for a number that would come back as another one. No field takes it, whatever its type;
an object of a class of our own would be taken for one with the attributes of a model."""
UNKEPT_MESSAGE: Final = (
    "a number has more digits than a double holds, or is out of range: send it as a string"
)

# A double tells all numbers of up to 15 digits apart that lie between these.
_SMALLEST, _LARGEST = 1e-290, 1e290
_MAX_CHARACTERS = 16
_MINUS_ZERO = re.compile(r"-0(?![0-9.eE])")


def read_decimal(text: str) -> float | EllipsisType:
    """The double that is equal to a JSON number with a fraction or an exponent, as it is written
    in answers; else `UNKEPT`, as for `1e400`, `1e-400` and `0.1234567890123456789`."""
    value = float(text)
    # One of the characters is the point or the `e`, so that 15 digits are left at most.
    if len(text) <= _MAX_CHARACTERS and _SMALLEST < abs(value) < _LARGEST:
        return value
    if not value:
        return UNKEPT if text.lower().partition("e")[0].strip("-0.") else value
    shown = to_json(value)
    if shown == text.encode():
        return value
    # Infinity is written as a word.
    is_equal = shown[-1:].isdigit() and Decimal(shown.decode()) == Decimal(text)
    return value if is_equal else UNKEPT


def read_integer(text: str) -> int | float:
    """The integer, and -0.0 for `-0`, as no integer has that sign. Raises `ValueError` for one
    that is too long for Python."""
    return int(text) if text != "-0" else -0.0


def may_have_minus_zero(text: str) -> bool:
    """Whether the number `-0` may stand in a JSON text; if not, `int` reads its integers faster."""
    return _MINUS_ZERO.search(text) is not None
