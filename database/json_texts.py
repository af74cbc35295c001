"""The form of stored JSON: compact, with keys in their order, and one spelling for each number.

Answers contain the same text, whether or not it was decoded on its way there.
"""

import json
import re
from typing import Any

# A string, or a number with a small exponent. Strings are matched so that they are skipped.
_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*+"|(-?)([0-9])(?:\.([0-9]+))?e-0([0-9])')
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def write_json(value: Any) -> str:
    """A value as JSON. Raises `ValueError` for NaN, infinities and circular values, `TypeError` for
    a type that JSON lacks, `RecursionError` for too deep nesting."""
    text = _ENCODER.encode(value)
    return _NUMBER.sub(_number, text) if "e-0" in text else text


def same_json(text: str) -> str:
    """A JSON text in the form of `write_json`; an invalid text stays unchanged.

    Of members with the same name, the last one counts. A number beyond the range of doubles, and
    an integer that is too long for Python, become strings. Other numbers with a fraction or an
    exponent become their nearest doubles.
    """
    try:
        rewritten = write_json(_DECODER.decode(text))
    except (ValueError, RecursionError):
        return text
    # Only an escape can have produced a lone surrogate.
    return _SURROGATE.sub("\ufffd", rewritten) if "\\" in text else rewritten


def _number(match: re.Match[str]) -> str:
    sign, first, rest, exponent = match.groups()
    if exponent is None:
        return match[0]
    # The form of Rust's ryu, which writes answers. Python writes `1e-05` and `1e-07` instead.
    if exponent == "5":
        return f"{sign}0.0000{first}{rest or ''}"
    return f"{sign}{first}{'.' + rest if rest else ''}e-{exponent}"


def _float(text: str) -> float | str:
    value = float(text)
    return value if abs(value) != float("inf") else text


def _integer(text: str) -> int | float | str:
    try:
        return int(text) if text != "-0" else -0.0
    except ValueError:
        return text


def _nothing(_: str) -> None:
    """NaN and infinities become null."""


# Created once, because `json.dumps` and `json.loads` with options create one in each call.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer, parse_constant=_nothing)
