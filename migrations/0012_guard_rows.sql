-- Guarded rows, and an audit whose oldest entries can be removed.
--
-- The digest of an entry covers the row that its target names, as the change left it. A row is
-- compared with the newest entry of its target that has a digest, which this index finds.
CREATE INDEX audit_entries_guarded ON audit_entries (target, id) WHERE digest IS NOT NULL;

-- Entries up to last_id were removed, but for the newest with a digest of each target. Those that
-- stay have the MAC of their predecessor in previous_mac, so that their own can still be checked.
-- kept is their number. mac is keyed and covers the other columns of the row.
CREATE TABLE audit_anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_id INTEGER NOT NULL CHECK (last_id >= 1),
    last_mac TEXT NOT NULL CHECK (length(last_mac) = 64),
    kept INTEGER NOT NULL CHECK (kept >= 0),
    mac TEXT NOT NULL CHECK (length(mac) = 64)
) STRICT;

ALTER TABLE audit_entries ADD COLUMN previous_mac TEXT CHECK (length(previous_mac) = 64);
