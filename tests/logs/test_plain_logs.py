"""Logs of the ordinary form are taken for what `LogEntry` takes them for, and no others are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backend.schemas.json_numbers import UNKEPT
from backend.schemas.logs import LogBatch, LogEntry
from backend.schemas.plain_logs import MAX_LOGS, PlainLog, plain_logs
from models import LogLevel

PLAIN = {"level": "INFO", "message": "m"}
FULL = {
    "level": "CRITICAL",
    "message": "ä\n\t😀" * 2500,
    "component": " ~!",
    "context": {"b": [1, None, {"a": 1.5}], "a": "ä"},
    "correlation_id": "x" * 100,
    "project_id": 2**63 - 1,
    "agent_run_id": 1,
    "timestamp": "2026-01-31T12:00:00.123456789+01:00",
}


def values_of(log: LogEntry | PlainLog) -> tuple[object, ...]:
    return tuple(getattr(log, name) for name in PlainLog._fields)


def entry(value: Any) -> LogEntry | None:
    """The log in the form that takes every log; `None` if it is refused."""
    try:
        [log] = LogBatch.model_validate({"logs": [value]}).logs
    except ValidationError:
        return None
    return log


@pytest.mark.parametrize(
    "value",
    [
        PLAIN,
        FULL,
        *({**PLAIN, "level": level.value} for level in LogLevel),
        *({**PLAIN, name: None} for name in ("component", "correlation_id", "project_id")),
        *({**PLAIN, "level": level} for level in ("info", "Warn", "FATAL", "trace", "Critical")),
        {**PLAIN, "timestamp": None},
        {**PLAIN, "context": {}},
        {**PLAIN, "agent_run_id": None},
        {**PLAIN, "message": "x" * 10_000},
        {**PLAIN, "component": "x" * 100},
    ],
)
def test_ordinary_logs_are_the_same(value: dict[str, Any]) -> None:
    taken = plain_logs([value, PLAIN])
    log = entry(value)
    assert taken is not None
    assert log is not None
    assert values_of(taken[0]) == values_of(log)
    assert taken[1].message == "m"


CONTEXTS: list[Any] = [None, [], "{}", 1, True, {"n": UNKEPT}]
UNUSUAL: list[Any] = [
    {},
    [],
    None,
    "log",
    {"level": "INFO"},
    {"message": "m"},
    *({**PLAIN, "level": level} for level in ("iNFO", "loud", "", None, 20, ["INFO"])),
    *({**PLAIN, "message": text} for text in ("", "a\0", None, 1, "x" * 10_001, b"m")),
    *(
        {**PLAIN, name: value}
        for name in ("component", "correlation_id")
        for value in ("", " ", "  \t", "x" * 101, "a\n", "\n", "a\0", "ä", 1, "\u202eabc", ["a"])
    ),
    *(
        {**PLAIN, "component": name}
        for name in ("strongroom", "Strongroom.audit", "my-strongroom", "STRONGROOM", " strongroom")
    ),
    *(
        {**PLAIN, name: value}
        for name in ("project_id", "agent_run_id")
        for value in (0, -1, 2**63, 1.0, True, "1", UNKEPT, [1])
    ),
    *({**PLAIN, "timestamp": value} for value in ("", "2026-01-31", 1, 1.5, True, ["x"], "x\0")),
    *({**PLAIN, "context": value} for value in CONTEXTS),
    {**PLAIN, "context": {"x": "y" * 70_000}},
    {**PLAIN, "context": {"a": float("inf")}},
    {**PLAIN, "id": 1},
    {**PLAIN, "created_at": "2026-01-31T12:00:00.000000Z"},
    {**PLAIN, "surplus": 1},
]


@pytest.mark.parametrize("value", UNUSUAL)
def test_unusual_logs_are_left_to_the_other_form(value: Any) -> None:
    assert plain_logs([PLAIN, value]) is None


def test_too_many_and_no_lists_are_left_to_the_other_form() -> None:
    assert plain_logs([]) == []
    taken = plain_logs([PLAIN] * MAX_LOGS)
    assert taken is not None
    assert len(taken) == MAX_LOGS
    for logs in ([PLAIN] * (MAX_LOGS + 1), PLAIN, None, "", 1, (PLAIN,)):
        assert plain_logs(logs) is None


_text = st.text(max_size=12) | st.sampled_from(["strongroom", "a b", " ", "\x7f", "~", "a\n"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_members = st.fixed_dictionaries(
    {
        "level": st.sampled_from([*LogLevel.__members__, "info", "Warn", "iNFO", "none"]),
        "message": _text | _json,
    },
    optional={
        "component": _text | _json,
        "correlation_id": _text | _json,
        "context": st.dictionaries(_text, _json, max_size=3) | _json,
        "project_id": st.integers(-1, 3) | _json,
        "agent_run_id": st.integers(-1, 3) | _json,
        "timestamp": st.sampled_from(["2026-01-31T12:00:00Z", "2026-01-31T12:00:00"]) | _json,
        "id": st.integers(),
    },
)


@given(_members)
def test_what_is_taken_is_what_the_other_form_takes(value: dict[str, Any]) -> None:
    taken = plain_logs([value])
    if taken is None:
        return
    log = entry(value)
    assert log is not None
    assert values_of(taken[0]) == values_of(log)
