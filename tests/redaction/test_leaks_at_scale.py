"""Of many logs with leaked values, nothing of a value stays anywhere."""

from pathlib import Path

import pytest

from tests.redaction.encodings import forms
from tests.redaction.leaking import HIDDEN, SHOWN, Search, check, leak, needles


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.long_form)])
def test_no_byte_of_a_value_stays(tmp_path: Path, count: int) -> None:
    check(leak(tmp_path, count), count)


def test_the_search_finds_each_form() -> None:
    for key, value in {**HIDDEN, "SHOWN": SHOWN}.items():
        for name, form in forms(value):
            search = Search()
            search.data("here", f"a {form} b".encode())
            assert search.found == {"here": {key}}, name
    assert len(needles(SHOWN)) > 100
