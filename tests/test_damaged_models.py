"""Models of rows, also of rows that no model accepts."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pydantic import ValidationError

from models import Webhook, WebhookType

GENUINE: dict[str, Any] = {
    "id": 1,
    "created_at": "2026-01-31T12:00:00.000000Z",
    "updated_at": "2026-01-31T12:00:00.000000Z",
    "version": 3,
    "project_id": 1,
    "webhook_type": "custom",
    "webhook_url": None,
    "events": '["push"]',
    "is_active": 1,
    "last_triggered_at": None,
    "unknown": "ignored",
}


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """A connection that returns rows."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def _webhook(db: sqlite3.Connection, **damaged: Any) -> Webhook:
    columns = {**GENUINE, **damaged}
    names = ", ".join(f"? AS {name}" for name in columns)
    return Webhook.of_row(dict(db.execute(f"SELECT {names}", tuple(columns.values())).fetchone()))


def test_a_genuine_row_is_validated(db: sqlite3.Connection) -> None:
    assert _webhook(db) == Webhook.model_validate(GENUINE)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("created_at", "yesterday", "yesterday"),
        ("last_triggered_at", "", ""),
        ("webhook_type", "pigeon", "pigeon"),
        ("events", "{", []),
        ("events", "{}", []),
        ("events", "[1]", []),
        ("is_active", 7, True),
    ],
)
def test_only_the_damaged_column_differs(
    db: sqlite3.Connection, column: str, value: Any, shown: Any
) -> None:
    webhook = _webhook(db, **{column: value})
    genuine = _webhook(db).model_dump(mode="json")
    # Warnings of the serialiser are errors here.
    assert webhook.model_dump(mode="json") == {**genuine, column: shown}


def test_an_unknown_name_is_a_member_of_this_model_alone(db: sqlite3.Connection) -> None:
    found = _webhook(db, webhook_type="pigeon").webhook_type
    assert isinstance(found, WebhookType)
    assert found == "pigeon"
    assert found not in list(WebhookType)
    with pytest.raises(ValueError, match="pigeon"):
        WebhookType("pigeon")


def test_a_row_without_a_column_is_a_fault_of_the_statement(db: sqlite3.Connection) -> None:
    with pytest.raises(ValidationError, match="Field required"):
        Webhook.of_row(dict(db.execute("SELECT 1 AS id, '{' AS events").fetchone()))
