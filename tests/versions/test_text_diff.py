"""Diffs are right for all texts, the shortest for short ones, and their cost is bounded."""

import re

from hypothesis import given
from hypothesis import strategies as st

from backend.services.projects.text_diff import changed_lines, unified_diff

TEXTS = st.text("ab\r\u2028\n", max_size=40)


def applied(old: str, diff: str) -> str:
    """The new text, which the diff makes of the old one, as `patch` does it."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", old)
    made: list[str] = []
    place, last = 0, " "
    body = diff.split("\n")[2:]
    assert body.pop() == ""
    for line in body:
        if line.startswith("@@"):
            found = re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", line)
            assert found is not None
            start = int(found[1]) - (0 if found[2] == "0" else 1)
            made += lines[place:start]
            place = start
            assert len(made) == int(found[3]) - (0 if found[4] == "0" else 1)
        elif line.startswith("\\"):
            # The line before has no line feed; it is in the new text unless it was removed.
            if last != "-":
                made[-1] = made[-1].removesuffix("\n")
            else:
                assert not lines[place - 1].endswith("\n")
        else:
            last, text = line[0], f"{line[1:]}\n"
            if last in " -":
                assert lines[place] in (text, text[:-1])
                place += 1
            if last in " +":
                made.append(text)
    return "".join(made + lines[place:])


@given(TEXTS, TEXTS, st.sampled_from([0, 3, 20, 10**6]))
def test_a_diff_makes_the_new_text_of_the_old_one(old: str, new: str, most_steps: int) -> None:
    diff = unified_diff(old, new, "old", "new", most_steps=most_steps)
    assert diff.startswith("--- old\n+++ new\n")
    assert applied(old, diff) == new


def longest_common(old: list[str], new: list[str]) -> int:
    """The length of the longest common subsequence."""
    before = [0] * (len(new) + 1)
    for line in old:
        row = [0]
        for place, other in enumerate(new):
            same = before[place] + 1 if line == other else 0
            row.append(max(same, before[place + 1], row[place]))
        before = row
    return before[-1]


@given(st.lists(st.sampled_from("abc"), max_size=15), st.lists(st.sampled_from("abc"), max_size=15))
def test_it_is_the_shortest(old: list[str], new: list[str]) -> None:
    changes = changed_lines(old, new)
    removed = sum(change.old_end - change.old_start for change in changes)
    added = sum(change.new_end - change.new_start for change in changes)
    common = longest_common(old, new)
    assert (removed, added) == (len(old) - common, len(new) - common)


def test_changes_that_are_far_apart_are_hunks_of_their_own() -> None:
    old = "".join(f"{number}\n" for number in range(30))
    new = old.replace("2\n", "two\n", 1).replace("25\n", "more\n")
    diff = unified_diff(old, new, "a", "b")
    assert diff.count("@@ -") == 2
    assert applied(old, diff) == new


def test_null_is_no_empty_text() -> None:
    assert unified_diff(None, "", "a", "b") == "--- /dev/null\n+++ b\n"
    assert unified_diff("x\n", None, "a", "b") == "--- a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"


def test_the_largest_texts_are_compared_in_a_bounded_number_of_steps() -> None:
    old = [str(number) for number in range(140_000)]
    new = old[::-1]
    assert len(changed_lines(old, new)) == 1
    few = ["changed" if number % 500 == 0 else line for number, line in enumerate(old)]
    assert len(changed_lines(old, few)) == 280
