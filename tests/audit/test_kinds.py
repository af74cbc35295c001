"""docs/access.md tells of every kind of entry, and the code records each kind that it tells of."""

import ast
import re
from pathlib import Path

from backend.routes import POLICIES
from backend.services import kinds
from backend.services.kinds import Kind
from models import Scope

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "access.md"
RESOURCES = {
    "project": "/api/projects/{project_id}",
    "settings": "/api/projects/{project_id}/configuration",
    "secret": "/api/projects/{project_id}/secrets/{key}",
    "agent_run": "/api/agent-runs/{run_id}",
    "pipeline_state": "/api/agent-runs/{run_id}/pipeline-states",
    "message": "/api/agent-runs/{run_id}/messages",
    "test_results": "/api/agent-runs/{run_id}/test-results",
    "snapshot": "/api/snapshots/{snapshot_id}",
    "webhook": "/api/webhooks/{webhook_id}",
    "delivery": "/api/webhooks/{webhook_id}/deliveries/{delivery_id}",
    "token": "/api/tokens/{token_id}",
    "keys": "/api/keys",
    "backup": "/api/backups",
}
"""The call that reads what the kinds of each thing are about."""
NO_CHANGES = {
    Kind.SECRET_REVEALED: Scope.AUDIT_READ,
    Kind.SECRET_REVEAL_REFUSED: Scope.AUDIT_READ,
    Kind.SECRET_SCANNED: Scope.AUDIT_READ,
    Kind.SECRET_REENCRYPTED: Scope.ADMIN,
    Kind.WEBHOOK_REENCRYPTED: Scope.ADMIN,
}
"""Kinds after which the thing reads as before, and the scope that each needs."""


def documented() -> list[tuple[str, str, str]]:
    """The kind, the time and the scope in each row of the table."""
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("| kind | when | scope |") :].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \| `([^`]+)` \|$", table, re.MULTILINE)
    assert len(rows) == table.count("\n") - 1, "a row does not have the form of the others"
    return rows


def test_the_table_has_every_kind_and_no_other() -> None:
    assert [kind for kind, _, _ in documented()] == [kind.value for kind in Kind]


def test_the_table_says_which_scope_sees_a_kind() -> None:
    assert {kind: scope for kind, _, scope in documented()} == {
        kind.value: kind.scope.value for kind in Kind
    }


def test_every_kind_is_recorded_somewhere() -> None:
    used: set[str] = set()
    for file in (ROOT / "backend").rglob("*.py"):
        if file == Path(kinds.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Kind":
                used.add(node.attr)
    assert used == set(Kind.__members__)


def test_who_may_read_a_thing_may_see_its_changes() -> None:
    things: set[str] = set()
    for kind in Kind:
        thing = kind.value.partition(".")[0]
        things.add(thing)
        if kind in NO_CHANGES:
            assert kind.scope is NO_CHANGES[kind], kind
        elif thing in RESOURCES:
            assert kind.scope is POLICIES["GET", RESOURCES[thing]].scope, kind
        else:
            assert kind.scope is Scope.ADMIN, kind
    assert things >= RESOURCES.keys()
