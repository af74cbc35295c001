-- Who did what to what and when: one row for every change and each reveal, in its transaction.
--
-- Ids are dense: each row takes the id after its predecessor's and a MAC over it, so that neither
-- a row nor its place can change unseen. There is no reference to projects or tokens, because the
-- audit outlives both. actor_token_id is null for the service itself and for nobody in particular.

CREATE TABLE audit_entries (
    id INTEGER PRIMARY KEY CHECK (id >= 1),
    at TEXT NOT NULL CHECK (at LIKE '____-__-__T__:__:__.______Z'),
    actor TEXT NOT NULL CHECK (length(actor) BETWEEN 1 AND 255),
    actor_token_id INTEGER,
    action TEXT NOT NULL CHECK (length(action) BETWEEN 1 AND 100),
    target TEXT NOT NULL CHECK (length(target) BETWEEN 1 AND 500),
    project_id INTEGER,
    fields TEXT NOT NULL DEFAULT '[]',
    request_id TEXT CHECK (length(request_id) BETWEEN 1 AND 64),
    mac TEXT NOT NULL CHECK (length(mac) = 64)
) STRICT;

CREATE INDEX audit_entries_project ON audit_entries (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX audit_entries_action ON audit_entries (action, id);
CREATE INDEX audit_entries_actor ON audit_entries (actor, id);

-- A rotation of keys that was asked for: what it is to do and how far it is, so that one that was
-- interrupted goes on. Project keys with ids up to last_old_key_id are replaced when reencrypt is 1.

CREATE TABLE key_rotations (
    id INTEGER PRIMARY KEY,
    reencrypt INTEGER NOT NULL CHECK (reencrypt IN (0, 1)),
    last_old_key_id INTEGER NOT NULL CHECK (last_old_key_id >= 0),
    total INTEGER NOT NULL CHECK (total >= 0),
    done INTEGER NOT NULL DEFAULT 0 CHECK (done >= 0),
    failed INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    started_at TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__.______Z'),
    finished_at TEXT CHECK (finished_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE UNIQUE INDEX key_rotations_running ON key_rotations ((finished_at IS NULL))
    WHERE finished_at IS NULL;
