"""JSON objects that clients send with runs, logs and results: what is kept, and what is refused."""

import math
from typing import Any

from hypothesis import strategies as st

LIMIT = 65_536
"""The most bytes of an object."""


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are identical, including kinds of numbers, order of keys, and signs
    of zeros."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


KEPT_OBJECTS = [
    "{}",
    '{"b": 1, "a": 2, "": 3, "B": 4}',
    '{"int": 1, "float": 1.0, "bool": true, "null": null, "text": "1"}',
    '{"max": 9223372036854775807, "min": -9223372036854775808, "more": 18446744073709551615}',
    '{"far": 123456789012345678901234567890}',
    '{"zero": 0.0, "negative": -0.0, "small": 5e-324, "large": 1.7976931348623157e308}',
    '{"exact": 0.1, "long": 0.30000000000000004, "e": 1e22, "whole": 123456789012345680.0}',
    '{"unicode": "\\u0000 \\ud83d\\udd11 \\u2028 é 𝄞 \\\\ \\" / \\n", "ключ": "値"}',
    '{"deep": ' + "[" * 63 + "]" * 63 + "}",
]
"""Texts that come back as they went in."""

REFUSED_OBJECTS = [
    ('{"a": "' + "x" * (LIMIT - 7) + '"}', "json_size"),
    ('{"a": "' + "é" * ((LIMIT - 8) // 2 + 1) + '"}', "json_size"),
    ('{"a": "' + "\\n" * (LIMIT // 2) + '"}', "json_size"),
    (nested(65), "json_depth"),
    (nested(500), "json_depth"),
    ('{"a": ' + "[" * 64 + "]" * 64 + "}", "json_depth"),
    ('{"a": 1e999}', "json_value"),
    ('{"a": [{"b": -1e999}]}', "json_value"),
    ('{"a": 1e-400}', "json_value"),
    ('{"a": 0.1234567890123456789}', "json_value"),
    ('{"a": "NaN", "b": {"c": [9007199254740993.0]}}', "json_value"),
]
"""Texts that can't be kept, and the code of the error."""

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=5)
"""Any object."""
