-- Earlier versions of configurations and secrets.
--
-- A version is written here when another replaces it, so the present versions stand in
-- project_settings and project_secrets alone, and creating them costs nothing more. Who made the
-- present version, and which fields it changed, stands in its row; it is not known of versions
-- from before this migration. Nothing is written to existing rows, whatever their number.
ALTER TABLE project_settings ADD COLUMN actor TEXT;
ALTER TABLE project_settings ADD COLUMN fields TEXT;
ALTER TABLE project_secrets ADD COLUMN actor TEXT;

-- created_at is the configuration's, updated_at the version's. mac is keyed and covers the other
-- columns but id.
CREATE TABLE configuration_versions (
    id INTEGER PRIMARY KEY,
    configuration_id INTEGER NOT NULL,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    planning_statement TEXT CHECK (length(planning_statement) <= 1000000),
    repository_rules TEXT CHECK (length(repository_rules) <= 1000000),
    setup_commands TEXT CHECK (length(setup_commands) <= 1000000),
    branch_name TEXT NOT NULL CHECK (length(branch_name) BETWEEN 1 AND 244),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z'),
    version INTEGER NOT NULL CHECK (version >= 1),
    actor TEXT CHECK (length(actor) BETWEEN 1 AND 255),
    fields TEXT,
    mac TEXT NOT NULL,
    UNIQUE (project_id, version)
) STRICT;

-- The versions that runs refer to are kept.
CREATE INDEX agent_runs_settings ON agent_runs (project_id, settings_version);

-- The same for secrets, and the last version of a deleted one, with deleted_at. A destroyed version
-- has lost its value for good. deleted_at goes once nothing is left that could be restored. Nothing
-- holds project_key_id to a key: a version whose key another program has removed is kept too.
CREATE TABLE secret_versions (
    id INTEGER PRIMARY KEY,
    secret_id INTEGER NOT NULL,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    project_key_id INTEGER,
    key_name TEXT NOT NULL CHECK (length(key_name) BETWEEN 1 AND 100),
    ciphertext TEXT CHECK (length(ciphertext) >= 1),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z'),
    version INTEGER NOT NULL CHECK (version >= 1),
    actor TEXT CHECK (length(actor) BETWEEN 1 AND 255),
    deleted_at TEXT CHECK (deleted_at LIKE '____-__-__T__:__:__.______Z'),
    destroyed_at TEXT CHECK (destroyed_at LIKE '____-__-__T__:__:__.______Z'),
    mac TEXT NOT NULL,
    UNIQUE (project_id, key_name, version),
    CHECK ((ciphertext IS NULL) = (project_key_id IS NULL)),
    CHECK ((ciphertext IS NULL) = (destroyed_at IS NOT NULL))
) STRICT;

CREATE INDEX secret_versions_project_key ON secret_versions (project_key_id)
    WHERE project_key_id IS NOT NULL;
CREATE INDEX secret_versions_deleted ON secret_versions (deleted_at, id)
    WHERE deleted_at IS NOT NULL;
