"""The measurement of what guards rows takes all of it away, and puts it back."""

from pathlib import Path

from backend.services.recording import Recorder
from bench import guard
from bench.sections import SECTIONS


async def test_both_ways_are_measured(tmp_path: Path) -> None:
    numbered = Recorder._numbered
    figures = await guard.measure(tmp_path / "data", rounds=1)
    assert set(figures) == set(SECTIONS["guard"].figures)
    assert Recorder._numbered is numbered
