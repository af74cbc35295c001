"""Two migrations with everything that a script of statements can contain."""

import sqlite3

from database.migrator import Migration

FIRST = Migration(
    1,
    "0001_create_boxes",
    """
    -- Boxes; and what is in them.
    CREATE TABLE boxes (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
    CREATE TABLE things (
        id INTEGER PRIMARY KEY,
        box_id INTEGER NOT NULL REFERENCES boxes (id) ON DELETE CASCADE
    ) STRICT;
    INSERT INTO boxes VALUES (1, 'one; or two'), (2, 'it''s');
    INSERT INTO things VALUES (10, 1), (20, 2);
    """,
)
REBUILD = Migration(
    2,
    "0002_rebuild_boxes",
    """
    CREATE TABLE boxes_new (id INTEGER PRIMARY KEY, name TEXT NOT NULL, size INTEGER) STRICT;
    INSERT INTO boxes_new (id, name) SELECT id, name FROM boxes;
    DROP TABLE boxes;
    ALTER TABLE boxes_new RENAME TO boxes;
    CREATE TRIGGER boxes_after_insert AFTER INSERT ON boxes BEGIN
        UPDATE boxes SET size = 0 WHERE id = new.id; -- ; in a comment
        UPDATE boxes SET size = size + 1 WHERE id = new.id;
    END;
    -- The end.
    """,
)


def query(connection: sqlite3.Connection, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connection.execute(sql).fetchall()]
