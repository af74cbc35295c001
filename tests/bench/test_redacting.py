"""The measurement of redaction stores logs of every kind in both projects."""

from pathlib import Path

from backend.services.redaction.patterns import SecretPatterns
from bench import redacting


async def test_both_ways_are_measured(tmp_path: Path) -> None:
    figures = await redacting.measure(tmp_path / "data", rounds=1)
    assert {*figures, *redacting.measure_patterns(1)} == set(redacting.FIGURES)


def test_every_form_of_a_value_is_one_that_redaction_knows() -> None:
    patterns = SecretPatterns({one["key"]: one["value"] for one in redacting.secrets()})
    for one in redacting.secrets():
        for form in redacting.forms(one["value"]):
            assert one["key"] in patterns.count(f"token={form} "), form
