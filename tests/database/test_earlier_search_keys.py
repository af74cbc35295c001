"""The migration that makes the search keys of projects again."""

from contextlib import closing
from pathlib import Path

from database.migrator import load_migrations, migrate
from database.sqlite.connection import ConnectionConfig, open_connection

NOW = "2026-01-01T00:00:00.000000Z"


def test_search_keys_of_older_projects_are_rebuilt(tmp_path: Path) -> None:
    rows = [
        ("Cafe\u0301", "Acme", "Payments"),
        ("B", "cafe\u0301", "r"),
        ("C", "café", "r"),
        ("D", "Größe", "x"),
    ]
    with closing(open_connection(ConnectionConfig(tmp_path / "strongroom.db"))) as connection:
        migrate(connection, load_migrations()[:6])
        for name, owner, repo in rows:
            keys = [text.casefold() for text in (name, owner, repo)]
            connection.execute(
                "INSERT INTO projects (name, github_owner, github_repo, name_key, owner_key,"
                " repo_key, search_text, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, owner, repo, *keys, "\n".join(keys), NOW, NOW),
            ).close()
        migrate(connection)
        found = connection.execute(
            "SELECT name, github_owner, name_key, owner_key, search_text FROM projects ORDER BY id"
        ).fetchall()
    assert [tuple(row) for row in found] == [
        ("Cafe\u0301", "Acme", "café", "acme", "café\nacme/payments"),
        ("B", "cafe\u0301", "b", "café", "b\ncafé/r"),
        ("C", "café", "c", "café", "c\ncafé/r"),
        ("D", "Größe", "d", "grösse", "d\ngrösse/x"),
    ]
