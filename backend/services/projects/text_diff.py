"""Unified diffs whose cost is bounded, whatever the texts.

The standard library's `difflib` compares in cubic time at worst. Here the lines that differ are
found by Myers' greedy algorithm ("An O(ND) Difference Algorithm and Its Variations", 1986), which
stops after a number of steps: what is left is then shown as replaced as a whole. The diff is right
in any case, and usually the shortest one.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

CONTEXT = 3
"""The number of equal lines around a change."""
MOST_STEPS = 500_000
"""About a quarter of a second."""
_NO_NEWLINE = "\\ No newline at end of file\n"


class Change(NamedTuple):
    """A range of lines in the old text that a range in the new text replaces. Either may be
    empty."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def unified_diff(
    old: str | None, new: str | None, old_name: str, new_name: str, *, most_steps: int = MOST_STEPS
) -> str:
    """The unified diff between two texts that differ, as `patch` reads it. Lines end at a line
    feed alone. `None` is named `/dev/null` and is an empty text otherwise."""
    head = (
        f"--- {old_name if old is not None else '/dev/null'}\n"
        f"+++ {new_name if new is not None else '/dev/null'}\n"
    )
    old_lines, new_lines = _lines(old or ""), _lines(new or "")
    changes = changed_lines(old_lines, new_lines, most_steps=most_steps)
    return head + "".join(_hunks(old_lines, new_lines, changes))


def changed_lines(
    old: Sequence[str], new: Sequence[str], *, most_steps: int = MOST_STEPS
) -> list[Change]:
    """The ranges of lines that differ, in their order, with equal lines between them."""
    start = 0
    least = min(len(old), len(new))
    while start < least and old[start] == new[start]:
        start += 1
    end = 0
    while end < least - start and old[-1 - end] == new[-1 - end]:
        end += 1
    old_end, new_end = len(old) - end, len(new) - end
    if start == old_end and start == new_end:
        return []
    if start in (old_end, new_end):
        return [Change(start, old_end, start, new_end)]
    # Comparing numbers is faster than comparing lines.
    numbers: dict[str, int] = {}
    a = [numbers.setdefault(line, len(numbers)) for line in old[start:old_end]]
    b = [numbers.setdefault(line, len(numbers)) for line in new[start:new_end]]
    trace = _trace(a, b, most_steps)
    if trace is None:
        return [Change(start, old_end, start, new_end)]
    return [Change(*(start + place for place in change)) for change in _path(a, b, trace)]


def _trace(a: Sequence[int], b: Sequence[int], most_steps: int) -> list[list[int]] | None:
    """How far each diagonal is reached with 0, 1, 2, … changed lines, up to the end of both;
    `None` when that takes too many steps."""
    reached = {1: 0}
    trace: list[list[int]] = []
    len_a, len_b = len(a), len(b)
    steps = most_steps
    for changes in range(len_a + len_b + 1):
        row = []
        for diagonal in range(-changes, changes + 1, 2):
            if diagonal == -changes or (
                diagonal != changes and reached[diagonal - 1] < reached[diagonal + 1]
            ):
                x = reached[diagonal + 1]
            else:
                x = reached[diagonal - 1] + 1
            begun = x
            y = x - diagonal
            while x < len_a and y < len_b and a[x] == b[y]:
                x += 1
                y += 1
            steps -= x - begun + 1
            reached[diagonal] = x
            row.append(x)
            if x >= len_a and y >= len_b:
                trace.append(row)
                return trace
        trace.append(row)
        if steps < 0:
            return None
    return None


def _path(a: Sequence[int], b: Sequence[int], trace: Sequence[Sequence[int]]) -> list[Change]:
    """The changes on the shortest way that `_trace` has found."""
    x, y = len(a), len(b)
    changes: list[Change] = []
    for number in range(len(trace) - 1, 0, -1):
        diagonal = x - y
        row = trace[number - 1]

        def reached(diagonal: int, row: Sequence[int] = row, number: int = number) -> int:
            place = (diagonal + number - 1) // 2
            return row[place] if 0 <= place < len(row) else -1

        if diagonal == -number or (
            diagonal != number and reached(diagonal - 1) < reached(diagonal + 1)
        ):
            before = diagonal + 1
            step = (0, 1)
        else:
            before = diagonal - 1
            step = (1, 0)
        x = reached(before)
        y = x - before
        one = Change(x, x + step[0], y, y + step[1])
        if (
            changes
            and changes[-1].old_start == one.old_end
            and changes[-1].new_start == one.new_end
        ):
            last = changes.pop()
            one = Change(one.old_start, last.old_end, one.new_start, last.new_end)
        changes.append(one)
    changes.reverse()
    return changes


def _lines(text: str) -> list[str]:
    """The lines, each with its line feed, if it has one."""
    lines = text.split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def _hunks(old: Sequence[str], new: Sequence[str], changes: Sequence[Change]) -> Iterator[str]:
    for group in _groups(changes):
        before = min(CONTEXT, group[0].old_start)
        after = min(CONTEXT, len(old) - group[-1].old_end)
        old_start, new_start = group[0].old_start - before, group[0].new_start - before
        old_end, new_end = group[-1].old_end + after, group[-1].new_end + after
        yield f"@@ -{_range(old_start, old_end)} +{_range(new_start, new_end)} @@\n"
        place = old_start
        for change in group:
            yield from _marked(" ", old[place : change.old_start])
            yield from _marked("-", old[change.old_start : change.old_end])
            yield from _marked("+", new[change.new_start : change.new_end])
            place = change.old_end
        yield from _marked(" ", old[place:old_end])


def _groups(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes in groups whose contexts meet."""
    group: list[Change] = []
    for change in changes:
        if group and change.old_start - group[-1].old_end > 2 * CONTEXT:
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _range(start: int, end: int) -> str:
    # Lines count from 1; an empty range is named by the line before it.
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield f"{mark}{line}"
        if not line.endswith("\n"):
            yield f"\n{_NO_NEWLINE}"
