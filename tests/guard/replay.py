"""Compares every guarded row with the record, from `audit_entries` and docs/security.md alone."""

import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.services.database_service import DatabaseService
from database.connection_manager import DatabaseManager
from database.engine import MalformedText

Row = dict[str, Any]

COLUMNS: Mapping[str, str] = {
    "api_tokens": "id name mac scopes project_ids created_at expires_at revoked_at",
    "sessions": "id token_id mac created_at expires_at",
    "projects": "id name github_owner github_repo status webhook_url auto_merge_enabled"
    " auto_confirm_plans created_at updated_at version",
    "project_settings": "id project_id planning_statement repository_rules setup_commands"
    " branch_name created_at updated_at version actor fields",
    "project_secrets": "id project_id project_key_id key_name ciphertext created_at updated_at"
    " version actor redact",
    "webhooks": "id project_id webhook_type webhook_url events is_active secret_ciphertext"
    " project_key_id secret_version created_at updated_at version",
}
"""The columns that a digest covers, by table, as docs/security.md has them."""
TARGETS: Mapping[str, Callable[[Row], str]] = {
    "api_tokens": lambda row: f"tokens/{row['id']}",
    "sessions": lambda row: f"sessions/{row['id']}",
    "projects": lambda row: f"projects/{row['id']}",
    "project_settings": lambda row: f"projects/{row['project_id']}/configuration",
    "project_secrets": lambda row: f"projects/{row['project_id']}/secrets/{row['key_name']}",
    "webhooks": lambda row: f"webhooks/{row['id']}",
}
LATER: Mapping[str, int] = {"project_settings": 2, "project_secrets": 2}
"""How many columns at the end a digest leaves out while they are null."""
_KEEPS_VERSION = (
    "secret.deleted",
    "secret.restored",
    "secret.purged",
    "secret.reencrypted",
    "webhook.reencrypted",
)
_NO_CHANGE = ("secret.revealed", "secret.reveal_refused")


def digest(key: bytes, entry: Row, table: str, values: list[Any] | None) -> str:
    """The digest of an entry for a row with these values, or for a deleted row."""
    stored = [*map(_as_stored, values)] if values is not None else None
    parts = [table, entry["id"], entry["target"], entry["version"], stored]
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    data = text.encode("utf-8", "surrogateescape")
    return "sd1:" + hmac.new(key, data, hashlib.sha256).hexdigest()


def _as_stored(value: Any) -> Any:
    """The value; bytes that are not UTF-8 as surrogates."""
    if isinstance(value, MalformedText):
        return value.stored.decode("utf-8", "surrogateescape")
    return value


@dataclass
class Replay:
    """What the record tells of all guarded rows, and how the tables differ from that."""

    rows: int
    """The number of guarded rows in the tables."""
    gone: int
    """The number of targets whose rows were deleted."""
    faults: list[str]
    """Each difference, in words; empty when all rows are as the record left them."""


def table_of(target: str) -> str | None:
    """The guarded table that a target belongs to; `None` when its row is not guarded."""
    match target.split("/"):
        case ["tokens", _]:
            return "api_tokens"
        case ["sessions", _]:
            return "sessions"
        case ["projects", _]:
            return "projects"
        case ["projects", _, "configuration"]:
            return "project_settings"
        case ["projects", _, "secrets", _] | ["projects", _, "secrets", _, "versions", _]:
            return "project_secrets"
        case ["webhooks", _]:
            return "webhooks"
    return None


def replay(manager: DatabaseManager, key: bytes) -> Replay:
    """The record, replayed from its first entry to its last."""
    entries = manager.execute_query("SELECT * FROM audit_entries ORDER BY id")
    faults = list(_faults_of_versions(entries))
    newest = {entry["target"]: entry for entry in entries if entry["digest"] is not None}
    rows = 0
    present = set()
    for table in COLUMNS:
        for row in manager.execute_query(f"SELECT * FROM {table}"):  # noqa: S608 - a constant
            rows += 1
            target = TARGETS[table](row)
            present.add(target)
            entry = newest.get(target)
            if entry is None:
                faults.append(f"{target} has no entry")
                continue
            project = newest.get(f"projects/{row.get('project_id')}")
            if project is not None and _is_tombstone(key, project, "projects"):
                faults.append(f"{target} belongs to a project that was purged")
            values = _covered(table, row)
            if entry["digest"] != digest(key, entry, table, values):
                faults.append(f"{target} is not as entry {entry['id']} left it")
            if "version" in row and entry["version"] != row["version"]:
                faults.append(f"{target} has version {row['version']}, not {entry['version']}")
    gone = 0
    for target, entry in newest.items():
        if target in present:
            continue
        gone += 1
        if not _is_gone(key, entry, newest):
            faults.append(f"{target} is gone without a tombstone")
    return Replay(rows, gone, faults)


def _covered(table: str, row: Row) -> list[Any]:
    """The values that the row's digest covers."""
    values = [row[name] for name in COLUMNS[table].split()]
    for _ in range(LATER.get(table, 0)):
        if values[-1] is None:
            values.pop()
    return values


def faults_of(service: DatabaseService) -> list[str]:
    """How the tables of a service differ from its record."""
    return replay(service.db_manager, service.kit.keys.row_digests).faults


def _is_gone(key: bytes, entry: Row, newest: Mapping[str, Row]) -> bool:
    target = entry["target"]
    table = table_of(target)
    assert table is not None, f"the entry of {target} has a digest"
    if _is_tombstone(key, entry, table):
        return True
    # What belonged to a purged project has no tombstone of its own.
    project = newest.get(f"projects/{entry['project_id']}")
    return project is not None and _is_tombstone(key, project, "projects")


def _is_tombstone(key: bytes, entry: Row, table: str) -> bool:
    fits: bool = entry["digest"] == digest(key, entry, table, None)
    return fits


def _faults_of_versions(entries: list[Row]) -> list[str]:
    """Versions of a target that fall, or that two changes have given."""
    faults = []
    last: dict[str, int] = defaultdict(int)
    for entry in entries:
        target, action, version = entry["target"], entry["action"], entry["version"]
        if table_of(target) is None or version is None:
            continue
        if action in _NO_CHANGE:
            if version > last[target]:
                faults.append(f"{action} of {target} has version {version}")
            continue
        if action in _KEEPS_VERSION:
            if version != last[target]:
                faults.append(f"{action} of {target} has version {version}")
        elif version <= last[target]:
            faults.append(f"{target} has version {version} after {last[target]}")
        last[target] = version
    return faults
