"""What the header `Prefer` says, and what is ignored in it."""

import pytest

from backend.http.waiting.preference import wait_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("wait=30", 30),
        ("wait=0", 0),
        ("wait=60", 60),
        ("wait=61", 60),
        ("wait=0060", 60),
        ("wait=" + "9" * 400, 60),
        ("WAIT=5", 5),
        (' wait = "7" ', 7),
        ("wait=5; strict", 5),
        ('wait=5;a="x,y;z"; b ;', 5),
        ("respond-async, wait=10", 10),
        ('handling="a, wait=3", wait=10', 10),
        (",, wait=10,", 10),
        ("return=minimal;foo=bar,wait=1", 1),
        # Only the first of several counts.
        ("wait=1, wait=2", 1),
        ("wait=x, wait=2", None),
        # What is malformed is ignored, and nothing else with it.
        ("wait 5, wait=2", 2),
        ("=3, wait=2", 2),
        ("wait", None),
        ("wait=", None),
        ('wait=""', None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=1 2", None),
        ("wait=\u0661", None),
        ("waits=5", None),
        ("x;wait=5", None),
        ('"wait=5"', None),
        ('x="wait=5', None),
        ("", None),
        (",", None),
        ("a," * 400 + "wait=5", None),
    ],
)
def test_the_preference_is_read_as_the_rfc_says(value: str, seconds: int | None) -> None:
    assert wait_seconds({b"prefer": value.encode()}) == seconds


def test_without_the_header_nothing_is_preferred() -> None:
    assert wait_seconds({}) is None
