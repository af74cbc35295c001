"""The page about runs agrees with the code."""

import re
from pathlib import Path

from backend.schemas.json_object import MAX_JSON_BYTES, MAX_JSON_DEPTH
from backend.schemas.runs import (
    DEFAULT_LEASE_SECONDS,
    MAX_CLAIM_COUNT,
    MAX_LEASE_SECONDS,
    MAX_TARGET,
)
from backend.services.kinds import Kind
from backend.services.runs.states import TRANSITIONS
from models import PipelineStateName, RunType

PAGE = Path(__file__).parent.parent.parent / "docs" / "agent-runs.md"


def section(heading: str) -> str:
    """The text below a heading, up to the next heading."""
    text = PAGE.read_text(encoding="utf-8")
    return re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


def names(text: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", text)


def test_the_table_of_statuses_is_the_codes() -> None:
    rows = re.findall(r"^\| (`\w+`) \|(.*)\|$", section("Statuses"), re.MULTILINE)
    assert {names(first)[0]: names(rest) for first, rest in rows} == {
        status.value: [to.value for to in targets] for status, targets in TRANSITIONS.items()
    }


def test_every_pipeline_state_is_named() -> None:
    assert set(PipelineStateName) <= set(names(section("Pipeline states")))


def test_the_bounds_are_the_codes() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"1 to {MAX_TARGET:,} characters" in text
    assert f"to {MAX_LEASE_SECONDS}, by default {DEFAULT_LEASE_SECONDS}." in text
    assert f"`count`, 1 to {MAX_CLAIM_COUNT}," in text
    assert f"{MAX_JSON_BYTES // 1024} KiB and {MAX_JSON_DEPTH} levels" in text
    assert {f"`{kind}`" for kind in RunType} <= set(re.findall(r"`\w+`", text))


def test_every_recorded_action_is_named() -> None:
    recorded = {kind for kind in Kind if kind.startswith(("agent_run.", "pipeline_state."))}
    assert recorded <= set(re.findall(r"`([a-z_]+\.[a-z_]+)`", section("In the audit")))
    assert recorded >= {"agent_run.created", "agent_run.requeued", "pipeline_state.added"}
