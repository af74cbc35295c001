-- The record holds what other parts follow: the version that a change gave to its resource, a keyed
-- digest of the guarded row as it then is, and the client's address. Each is null where there is
-- none. Rows from before this migration have none, and MACs in the format sa1, which does not cover
-- these columns; all later rows have MACs in the format sa2, which does.

ALTER TABLE audit_entries ADD COLUMN version INTEGER CHECK (version >= 1);
ALTER TABLE audit_entries ADD COLUMN digest TEXT CHECK (length(digest) BETWEEN 1 AND 100);
ALTER TABLE audit_entries ADD COLUMN address TEXT CHECK (length(address) BETWEEN 1 AND 100);
