-- The newest entry with a digest of each target, which guarded rows are compared with.
--
-- The index that found it grew with each entry, and the entries of a target are far from each other
-- in it: a batch that set five hundred secrets changed nearly as many pages. This table has a row for
-- each target, and those of a project are together.
CREATE TABLE guarded_targets (
    target TEXT PRIMARY KEY,
    entry_id INTEGER NOT NULL CHECK (entry_id >= 1)
) STRICT, WITHOUT ROWID;

INSERT INTO guarded_targets (target, entry_id)
SELECT target, max(id) FROM audit_entries WHERE digest IS NOT NULL GROUP BY target;

DROP INDEX audit_entries_guarded;
