"""JSON as it is stored: compact, its keys in their order, each number written in one way.

The same text stands in answers, whether it is read into objects on its way there or not.
"""

import json
import re
from typing import Any

# A number with an exponent, or a string, in which nothing is a number.
_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*+"|(-?)([0-9])(?:\.([0-9]+))?e-0([0-9])')
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def write_json(value: Any) -> str:
    """A value as JSON. Raises `ValueError` for NaN, infinities and circular values, `TypeError` for
    what is no JSON, `RecursionError` for what is nested too deeply."""
    text = _ENCODER.encode(value)
    return _NUMBER.sub(_number, text) if "e-0" in text else text


def same_json(text: str) -> str:
    """A JSON text as `write_json` writes its value; the text itself when it is no JSON.

    Of members of one name the last one counts. A number that no double is near to, and an integer
    that Python can't read, become strings; others become the double that readers take them for.
    """
    try:
        rewritten = write_json(_DECODER.decode(text))
    except (ValueError, RecursionError):
        return text
    # Only an escape can have made half a pair.
    return _SURROGATE.sub("\ufffd", rewritten) if "\\" in text else rewritten


def _number(match: re.Match[str]) -> str:
    sign, first, rest, exponent = match.groups()
    if exponent is None:
        return match[0]
    # As Rust's ryu writes it, by which answers are made: Python has `1e-05` and `1e-07` instead.
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
    """What is written for NaN and infinities."""


# Made once: a call of `json.dumps` or `json.loads` with options makes one each time.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer, parse_constant=_nothing)
