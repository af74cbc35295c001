-- What the audited peer has besides: tokens in a table, and a MAC for each row of the audit.

CREATE TABLE api_tokens (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    mac TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
) STRICT;

ALTER TABLE audit_entries ADD COLUMN actor_token_id INTEGER;
ALTER TABLE audit_entries ADD COLUMN request_id TEXT;
ALTER TABLE audit_entries ADD COLUMN address TEXT;
ALTER TABLE audit_entries ADD COLUMN mac TEXT;
