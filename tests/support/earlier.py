"""Makes an installation's database one of an earlier version, before rows were guarded."""

# ruff: noqa: S608 - the names are constants

import hmac
import sqlite3
from contextlib import closing
from pathlib import Path

SA1_COLUMNS = (
    "id",
    "at",
    "actor",
    "actor_token_id",
    "action",
    "target",
    "project_id",
    "fields",
    "request_id",
)
SA2_COLUMNS = (*SA1_COLUMNS, "version", "digest", "address")
ORIGIN = "0" * 64
EXTEND_AUDIT, GUARD_ROWS = 11, 12
"""The migrations after which entries had the format sa2, and after which rows were guarded."""


def documented_mac(kind: str, previous: str, *values: str | int | None, key: bytes) -> str:
    """The MAC of a row as docs/security.md describes it, without our code."""

    def field(value: str | int | None) -> bytes:
        if value is None:
            return b"\xff\xff\xff\xff"
        data = str(value).encode()
        return len(data).to_bytes(4, "big") + data

    message = b"".join(map(field, (kind, previous, *values)))
    return hmac.new(key, message, "sha256").hexdigest()


def make_earlier(path: Path, key: bytes, *, before: int = GUARD_ROWS) -> None:
    """Take back the migrations from number `before` on, and what later versions recorded. `key` is
    the installation's key of the audit chain."""
    columns = SA2_COLUMNS if before > EXTEND_AUDIT else SA1_COLUMNS
    names = ", ".join((*columns, "mac"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE audit_entries SET digest = NULL")
        rows = connection.execute(
            f"SELECT {', '.join(columns)} FROM audit_entries"
            " WHERE action <> 'settings.created' AND action NOT LIKE 'rows.%' ORDER BY id"
        ).fetchall()
        connection.execute("DROP INDEX audit_entries_guarded")
        connection.execute("DROP TABLE audit_anchor")
        gone = {"previous_mac", *SA2_COLUMNS} - set(columns)
        for column in sorted(gone):
            connection.execute(f"ALTER TABLE audit_entries DROP COLUMN {column}")
        connection.execute("DELETE FROM audit_entries")
        mac = ORIGIN
        for id, row in enumerate(rows, 1):
            values = (id, *row[1:])
            mac = documented_mac("sa2" if before > EXTEND_AUDIT else "sa1", mac, *values, key=key)
            connection.execute(
                f"INSERT INTO audit_entries ({names}) VALUES ({', '.join('?' * len(values))}, ?)",
                (*values, mac),
            )
        connection.execute("DELETE FROM schema_migrations WHERE version >= ?", (before,))
    path.with_name("audit.heads").unlink(missing_ok=True)
