-- What people and the agent of a run say to each other. Ids are never given out twice, because streams go on after one.
--
-- A client may send 50,000 characters; what the service stores in place of a secret may be longer.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_run_id INTEGER NOT NULL REFERENCES agent_runs (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user', 'agent', 'system')),
    content TEXT NOT NULL CHECK (length(content) BETWEEN 1 AND 1000000),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE INDEX messages_run ON messages (agent_run_id, id);
CREATE INDEX messages_run_role ON messages (agent_run_id, role, id);
