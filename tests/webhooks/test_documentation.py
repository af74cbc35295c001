"""The pages about webhooks, test results and snapshots agree with the code."""

import re
from pathlib import Path

from backend.http.inbound_budget import SMALL_BYTES, InboundLimits
from backend.routes import POLICIES
from backend.schemas.json_object import MAX_JSON_BYTES
from backend.schemas.results import MAX_RESULTS
from backend.schemas.webhooks import MAX_EVENTS
from models import TestStatus, WebhookType

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


def page(name: str) -> str:
    """The text of a page, with its lines joined."""
    return " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split())


def names(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_.]+)`", text))


def test_the_bounds_of_deliveries_are_the_codes() -> None:
    text = page("webhooks.md")
    (limit,) = (policy.body_limit for policy in POLICIES.values() if policy.body_limit)
    assert f"more than {limit // MIB} MiB" in text
    limits = InboundLimits()
    assert f"up to {SMALL_BYTES // MIB} MiB share {limits.small.max_bytes // MIB} MiB" in text
    assert f"larger ones share {limits.large.max_bytes // MIB} MiB" in text
    assert f"at {limits.bytes_per_second // 1024} KiB a second" in text
    assert f"with {limits.patience:g} seconds of grace" in text
    assert f"within {limits.seconds:g} seconds" in text
    assert f"up to {MAX_EVENTS} names" in text
    assert set(WebhookType) <= names(text)


def test_the_bounds_of_results_are_the_codes() -> None:
    text = page("test-results.md")
    assert f"up to {MAX_RESULTS:,} as" in text
    assert f"at most {MAX_JSON_BYTES // 1024} KiB" in text
    assert set(TestStatus) <= names(text)


def test_every_recorded_action_is_named() -> None:
    code = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "backend/services").rglob("*.py")
    )
    recorded = set(re.findall(r'"((?:webhook|test_results|snapshot)\.[a-z_]+)"', code))
    assert len(recorded) == 7
    assert recorded <= names(page("webhooks.md")) | names(page("test-results.md"))
