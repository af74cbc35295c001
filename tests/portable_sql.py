"""SQL that other engines don't know, or interpret differently."""

import re
from pathlib import Path
from typing import NamedTuple

SCHEMA = Path(__file__).parent.parent / "database" / "schema.sql"
_INTEGERS = "|".join(
    sorted(set(re.findall(r"^    (\w+) INTEGER\b", SCHEMA.read_text("utf-8"), re.MULTILINE)))
)
"""The names of all integer columns."""


class Foreign(NamedTuple):
    """A pattern of SQL that only SQLite understands, and a statement that matches it."""

    pattern: str
    sample: str


FOREIGN = {
    "a statement of SQLite's": Foreign(
        r"\b(PRAGMA|ATTACH|DETACH|VACUUM|REINDEX|EXPLAIN QUERY PLAN|REPLACE INTO)\b",
        "PRAGMA user_version",
    ),
    "INSERT OR, UPDATE OR": Foreign(
        r"\b(INSERT|UPDATE)\s+OR\s+(IGNORE|REPLACE|ABORT|FAIL|ROLLBACK)\b",
        "INSERT OR IGNORE INTO t VALUES (1)",
    ),
    "a table of SQLite's": Foreign(
        r"\b(sqlite_\w+|pragma_\w+|fts5\w*|json_each|json_tree|generate_series|dbstat)\b",
        "SELECT seq FROM sqlite_sequence",
    ),
    "rowid": Foreign(r"\b(_?rowid_?|oid|last_insert_rowid)\b", "SELECT rowid FROM t"),
    "an operator of SQLite's": Foreign(
        r"\b(MATCH|GLOB|REGEXP|ISNULL|NOTNULL)\b|==", "SELECT 1 FROM t WHERE a MATCH ?"
    ),
    "IS between values": Foreign(r"\bIS\s+(NOT\s+)?(\?|:\w|\d)", "SELECT 1 FROM t WHERE a IS ?"),
    "a parameter of no type": Foreign(
        r"\?\s+IS\s+(NOT\s+)?NULL\b", "SELECT 1 FROM t WHERE ? IS NULL"
    ),
    "VALUES of no types": Foreign(
        r"\bFROM\s*\(\s*VALUES\b|\bcolumn\d\b", "UPDATE t SET a = column1 FROM (VALUES (?)) AS n"
    ),
    "many rows in one upsert": Foreign(
        r"\)\s*,\s*\([^()]*\)\s*ON\s+CONFLICT\b",
        "INSERT INTO t VALUES (?, ?), (?, ?) ON CONFLICT (a) DO NOTHING",
    ),
    "an IN that may be of none": Foreign(
        r"\bIN\s*\(\s*(\{\}|\))", "SELECT 1 FROM t WHERE status IN ({})"
    ),
    "unary plus": Foreign(
        r"(^|[(,=<>]|\b(AND|OR|NOT|ON|BY|WHERE|SELECT|WHEN|THEN|ELSE|SET|HAVING)\b)\s*\+\s*[a-z_{]",
        "SELECT 1 FROM t WHERE +created_at > ?",
    ),
    "|| on integers": Foreign(
        rf"\b({_INTEGERS})\s*\|\||\|\|\s*(\w+\.)?({_INTEGERS})\b", "SELECT 'p' || t.project_id"
    ),
    "JSON in the database": Foreign(r"\bjsonb?(_\w+)?\s*\(|->", "SELECT json_extract(a, '$.b')"),
    "a function of SQLite's": Foreign(
        r"\b(typeof|group_concat|ifnull|iif|total|instr|hex|unhex|char|unicode|quote|printf|format"
        r"|zeroblob|randomblob|likely|unlikely|likelihood|glob|like|changes|total_changes|load_file"
        r"|strftime|unixepoch|julianday|timediff|datetime|date|time|random|soundex|bm25|snippet)"
        r"\s*\(",
        "SELECT ifnull(a, 1)",
    ),
    "max or min of several": Foreign(
        r"\b(max|min)\s*\([^()]*,", "UPDATE t SET a = max(a, ?) WHERE id = ?"
    ),
    "a collation": Foreign(
        r"\bCOLLATE\s+(NOCASE|BINARY|RTRIM)\b", "SELECT a FROM t ORDER BY a COLLATE NOCASE"
    ),
    "LIMIT of SQLite's": Foreign(
        r"\bLIMIT\s+(-|\?\s*,|\d+\s*,)", "SELECT 1 FROM t LIMIT -1 OFFSET ?"
    ),
    "an index by name": Foreign(
        r"\b(NOT\s+INDEXED|INDEXED\s+BY)\b", "SELECT 1 FROM t INDEXED BY i"
    ),
    "names in other quotes": Foreign(r'["`]|\[\w+\]', 'SELECT "a" FROM t'),
    "numbered parameters": Foreign(r"\?\d|[:@$][a-z]\w*\b", "SELECT 1 FROM t WHERE a = ?1"),
}
"""The patterns by name."""
_PATTERNS = {name: re.compile(one.pattern, re.IGNORECASE) for name, one in FOREIGN.items()}
_TEXT = re.compile(r"'(?:[^']|'')*'")


def foreign_to_others(sql: str) -> list[str]:
    """The names of the patterns that a statement, or a part of one, matches. Text literals are
    ignored."""
    code = _TEXT.sub("''", sql)
    return [name for name, pattern in _PATTERNS.items() if pattern.search(code)]
