"""Reading the numbers of a JSON text, with `UNKEPT` for those that a double can't hold."""

import re
from decimal import Decimal
from types import EllipsisType
from typing import Final

from pydantic_core import to_json

UNKEPT: Final = ...
"""Stands for a number that can't be returned unchanged. It is `...` because no type of field
accepts that; pydantic could read an object of our own class as a model's attributes."""
UNKEPT_MESSAGE: Final = (
    "a number has more digits than a double holds, or is out of range: send it as a string"
)

# Between these, a double distinguishes all numbers of up to 15 digits.
_SMALLEST, _LARGEST = 1e-290, 1e290
_MAX_CHARACTERS = 16
_MINUS_ZERO = re.compile(r"-0(?![0-9.eE])")


def read_decimal(text: str) -> float | EllipsisType:
    """The double for a JSON number with a fraction or an exponent, if answers would write an equal
    number; else `UNKEPT`, as for `1e400`, `1e-400` and `0.1234567890123456789`."""
    value = float(text)
    # One of the characters is the point or the `e`, so at most 15 are digits.
    if len(text) <= _MAX_CHARACTERS and _SMALLEST < abs(value) < _LARGEST:
        return value
    if not value:
        return UNKEPT if text.lower().partition("e")[0].strip("-0.") else value
    shown = to_json(value)
    if shown == text.encode():
        return value
    # Infinity is written as a word, so its text does not end in a digit.
    is_equal = shown[-1:].isdigit() and Decimal(shown.decode()) == Decimal(text)
    return value if is_equal else UNKEPT


def read_integer(text: str) -> int | float:
    """The integer, or -0.0 for `-0`, because Python has no integer -0. Raises `ValueError` for an
    integer that is too long for Python."""
    return int(text) if text != "-0" else -0.0


def may_have_minus_zero(text: str) -> bool:
    """Whether a JSON text may contain the number `-0`. If not, `int` reads its integers faster."""
    return _MINUS_ZERO.search(text) is not None
