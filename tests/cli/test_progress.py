"""The progress of a command: shown at a terminal, and nowhere else."""

import io
import re
import sys

import pytest

from backend.cli.progress import Shown, progress_bar


class Screen(io.StringIO):
    """A standard error that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def text(self) -> str:
        """The output without the terminal's control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


def shown_on(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, shown: Shown, total: int | None = None
) -> str:
    """The output of a bar whose work reaches 3, and then 4 of 8."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar("digging", shown=shown, total=total) as bar:
        bar.advance(2)
        bar.advance()
        if shown == "count":
            bar.show(4, 8)
    return screen.text()


@pytest.mark.parametrize(
    ("shown", "total", "text"),
    [
        ("count", None, r"digging .*4/8 "),
        ("share", 4, r"digging .* 75% "),
        ("share", None, r"digging .*"),
        ("tally", None, r"digging 3/\?"),
    ],
)
def test_a_terminal_shows_what_is_done(
    monkeypatch: pytest.MonkeyPatch, shown: Shown, total: int | None, text: str
) -> None:
    assert re.search(text, shown_on(Screen(is_terminal=True), monkeypatch, shown, total))


@pytest.mark.parametrize("shown", ["count", "share", "tally"])
def test_nothing_is_written_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, shown: Shown
) -> None:
    assert shown_on(Screen(is_terminal=False), monkeypatch, shown, 4) == ""


def test_a_bar_is_gone_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    with pytest.raises(ValueError, match="broken"), progress_bar("digging"):
        raise ValueError("broken")
    # The cursor, which the bar had hidden, is visible again.
    assert "\x1b[?25h" in screen.getvalue()
