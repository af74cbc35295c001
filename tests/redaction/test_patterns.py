"""Finding values in texts, and replacing them."""

import random
import string
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.services.redaction import patterns as patterns_module
from backend.services.redaction.patterns import SecretPatterns
from tests.redaction.encodings import KEY, MARKER, forms

VALUES = {
    "plain": "correct-horse-battery",
    "twelve characters": "abcdefghijkl",
    "of each kind": "pä\"ss/wo\\rd 🎉+%41?<&'x",
    "base64 itself": "c2VjcmV0+/c2VjcmV0Pz8/Pj4+",
    "two lines": "a first line of it\nand a second",
    "spaces": "            ",
    "in another script": "пароль-пароль-пароль",
}


def redacted(values: Mapping[str, str], text: str) -> str:
    return SecretPatterns(values).redact(text)[0]


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_value_is_found_in_every_form(value: str) -> None:
    patterns = SecretPatterns({KEY: value})
    for name, form in forms(value):
        for text in (form, f"<{form}>", f"before: {form}\nafter"):
            found, hits = patterns.redact(text)
            assert MARKER in found, name
            assert hits == {KEY: 1}, name
            assert patterns.count(text) == {KEY: 1}, name
            assert not patterns.count(found), name


@settings(max_examples=10)
@given(
    value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=12)
)
def test_any_value_is_found_in_every_form(value: str) -> None:
    patterns = SecretPatterns({KEY: value})
    for name, form in forms(value):
        assert MARKER in patterns.redact(form)[0], name


def test_what_stands_around_a_value_stays() -> None:
    value = VALUES["of each kind"]
    for name, form in forms(value):
        if "base64" not in name:
            start, _, end = redacted({KEY: value}, f"é%C3% {form} \\u00 +").partition(MARKER)
            assert start.startswith("é%C3% "), name
            assert end.endswith(" \\u00 +"), name


def test_no_bits_of_a_value_stay_beside_a_marker() -> None:
    # Beside the value, a character of base64 has bits of both.
    value = "0123456789abcd"
    texts = dict(forms(value))
    found = redacted({KEY: value}, texts["base64 (standard) between 1 and 1 bytes"])
    assert found == f"+{MARKER}/w=="
    found = redacted({KEY: value}, texts["base64 (standard) between 2 and 2 bytes"])
    assert found == f"+/{MARKER}/+"


def test_short_values_stay() -> None:
    patterns = SecretPatterns({"SHORT": "elevenchars", "EMPTY": "", "ALSO": "😀" * 11})
    assert not patterns
    text = "elevenchars " + "😀" * 30
    assert patterns.redact(text) == (text, {})
    assert patterns.count(text) == {}


def test_lines_of_twelve_characters_are_found_alone() -> None:
    value = "-----BEGIN KEY-----\r\n    MIIEvQIBADANBg\nshort line\n            \n-----END KEY-----"
    patterns = SecretPatterns({KEY: value})
    assert patterns.redact("x    MIIEvQIBADANBgx")[0] == f"x{MARKER}x"
    assert patterns.redact("x-----END KEY-----x")[0] == f"x{MARKER}x"
    for text in ("short line", " " * 40):
        assert patterns.redact(text)[0] == text
    # The same lines, as other programs end them, and as a form sends them.
    assert patterns.redact(value)[0] == MARKER
    assert patterns.redact("\r\n".join(value.splitlines()))[0] == MARKER


def test_case_counts() -> None:
    assert redacted({KEY: "ÄÖÜ-äöü-ß-éÉ"}, "äöü-äöü-ß-éé") == "äöü-äöü-ß-éé"


def test_values_that_overlap_are_replaced_as_a_whole() -> None:
    values = {
        "LEFT": "left-middle-part",
        "RIGHT": "middle-part-right",
        "LONG": "left-middle-part-x",
    }
    assert redacted(values, "<left-middle-part-right>") == "<[secret:LEFT]>"
    assert redacted(values, "<left-middle-part-x>") == "<[secret:LONG]>"
    assert (
        redacted(values, "<middle-part-rightleft-middle-part>") == "<[secret:RIGHT][secret:LEFT]>"
    )


def test_nothing_stays_of_a_value_with_another_inside() -> None:
    values = {"PASSWORD": "hunter2hunter2", "URL": "postgres://me:hunter2hunter2@db/app"}
    patterns = SecretPatterns(values)
    assert patterns.redact(f"to {values['URL']}?")[0] == "to [secret:URL]?"
    # Both were seen by a reader.
    assert patterns.redact(values["URL"])[1] == {"URL": 1, "PASSWORD": 1}
    assert patterns.redact("hunter2hunter2 hunter2hunter2")[1] == {"PASSWORD": 2}
    # Where only the inner one is encoded, too.
    assert patterns.redact(values["URL"].replace("hunter", "hun%74er"))[0] == "[secret:URL]"


def test_secrets_with_one_value_are_both_found() -> None:
    text, hits = SecretPatterns({"B": "the same value", "A": "the same value"}).redact(
        "the same value"
    )
    assert text == "[secret:A]"
    assert hits == {"A": 1, "B": 1}


@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        ({"A": "[secret:A]"}, "[secret:A]", "[secret:A]"),
        ({"ABCD": "[secret:ABCD] and more"}, "[secret:ABCD] and more", "[secret:ABCD]"),
        (
            {"KEY": "twelve chars", "X": "KEY]behind it"},
            "twelve charsbehind it",
            "[secret:[secret:X]",
        ),
        ({"X": "a[secret:KEY]b", "KEY": "twelve chars"}, "atwelve charsb", "[secret:X]"),
        ({"LONG_NAME": "secret:LONG_NAME"}, "secret:LONG_NAME", "[secret:LONG_NAME]"),
    ],
)
def test_values_made_of_markers(values: dict[str, str], text: str, expected: str) -> None:
    assert redacted(values, text) == expected


def test_a_value_that_comes_back_with_each_marker_ends_as_a_marker() -> None:
    values = {"VALUE": "secret:VALUE]aaaa"}
    assert redacted(values, "secret:VALUE]" + "a" * 4000) == "[secret:VALUE]"


def test_long_values_are_found_in_every_form_and_kept_once() -> None:
    random.seed(1)
    characters = string.ascii_letters + string.digits + '"/+% \\é🎉\n'
    long = "".join(random.choices(characters, k=2_000))  # noqa: S311 - no secret
    patterns = SecretPatterns({KEY: long})
    for name, form in forms(long):
        found, hits = patterns.redact(f"<{form}>{form}")
        assert found.count(MARKER) == 2, name
        assert hits == {KEY: 2}, name
        assert len(found) < 500, name
    assert patterns.bytes < 2 * sys.getsizeof(long) + 1000 * long.count("\n")
    # Less than the whole is no value.
    one_line = long.replace("\n", "")
    assert redacted({KEY: one_line}, one_line[:-1]) == one_line[:-1]


def test_values_that_repeat_themselves_are_replaced() -> None:
    short, long = "a" * 12, "ab" * 400
    assert redacted({KEY: short}, f"<{'a' * 40}>") == f"<{MARKER}>"
    assert redacted({KEY: long}, f"<{long}{long}{long}>") == f"<{MARKER * 3}>"
    assert redacted({KEY: long}, f"ab{long}") == f"{MARKER}ab"
    assert redacted({KEY: f"{long}c"}, f"{long}abab{long}c!") == f"{long}abab{MARKER}!"
    # Thousands of places, in text and in markers.
    text = "aaaaaaaaaaaa-" * 5_000
    assert redacted({KEY: short}, text) == f"{MARKER}-" * 5_000
    assert redacted({KEY: short, "X": f"secret:{KEY}"}, text) == f"{MARKER}-" * 5_000


def test_there_is_a_limit_to_what_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns_module, "MOST_PATTERNS", 9)
    values = {"NEW": "first value\nand a second line", "OLD": "the other value"}
    assert redacted(values, values["NEW"]) == "[secret:NEW]"
    assert redacted(values, "and a second line") == "and a second line"
    assert redacted(values, "the other value") == "[secret:OLD]"
    monkeypatch.setattr(patterns_module, "MOST_PATTERNS", 1)
    assert redacted(values, "the other value") == "the other value"


def test_spaces_take_no_longer_than_other_characters() -> None:
    # A pattern with spaces around an end of line would try each of them as the first.
    text = " " * 200_000 + "x"
    assert redacted({KEY: VALUES["plain"]}, f"{text}\n{text}") == f"{text}\n{text}"


def test_representations_show_no_value() -> None:
    patterns = SecretPatterns({KEY: VALUES["plain"]})
    automaton = patterns._automaton
    assert VALUES["plain"] not in f"{patterns!r} {list(automaton.values())!r} {automaton!r}"
