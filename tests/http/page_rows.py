"""Rows whose items in a page are large."""

import json

from database.engine import Value

NOW = "2026-01-31T12:00:00.000000Z"
TIMES = {"created_at": NOW, "updated_at": NOW}
KEY = "\U0001f511"
"""Four bytes of UTF-8."""
ESCAPED = "\x1b"
"""Six bytes of JSON, as terminals' colours have it."""


def run_row(number: int, **fields: Value) -> dict[str, Value]:
    return {
        "project_id": 1,
        "run_number": number + 2,
        "target_text": f"run {number}",
        "metadata": json.dumps({"text": '"' * 1000}),
        **TIMES,
        **fields,
    }


def project_row(number: int) -> dict[str, Value]:
    name = f"{number:04}{KEY * 200}"
    return {
        "name": name,
        "name_key": name,
        "github_owner": "acme",
        "owner_key": "acme",
        "github_repo": f"r{number}",
        "repo_key": f"r{number}",
        "search_text": name,
        "webhook_url": f"https://x/{KEY * 2000}",
        **TIMES,
    }


def secret_version_row(number: int) -> dict[str, Value]:
    return {
        "secret_id": 1,
        "project_id": 1,
        "project_key_id": 1,
        "key_name": "KEY",
        "ciphertext": "c" * 80_000,
        "version": number + 2,
        "actor": KEY * 255,
        "mac": "none",
        **TIMES,
    }


def configuration_version_row(number: int) -> dict[str, Value]:
    return {
        "configuration_id": 1,
        "project_id": 1,
        "branch_name": "main",
        "version": number + 2,
        "fields": json.dumps([f"{number}".ljust(100_000, "x")]),
        "mac": "none",
        **TIMES,
    }
