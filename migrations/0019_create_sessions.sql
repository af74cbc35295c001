-- Sessions of browsers. Each stands for a token until it ends: at its expiry, when its row is deleted,
-- or with the token. mac is the MAC of the secret in the session's cookie.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    token_id INTEGER NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    mac TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    expires_at TEXT NOT NULL CHECK (expires_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE INDEX sessions_token ON sessions (token_id);

CREATE INDEX sessions_expires_at ON sessions (expires_at, id);
