"""The slow query, which clients and peers share."""

SLOW_QUERY = (
    "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
    " SELECT count(*) FROM numbers"
)
"""Its parameter determines how long it takes. It uses one core and does not read the disk."""
