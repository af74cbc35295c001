"""The query that takes long, for all who send or answer it."""

SLOW_QUERY = (
    "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
    " SELECT count(*) FROM numbers"
)
"""Takes as long as its parameter says, on one core, without a byte from the disk."""
