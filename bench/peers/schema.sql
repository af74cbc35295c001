-- What the workloads need of Strongroom's schema, for the peers.

CREATE TABLE projects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    github_owner TEXT NOT NULL COLLATE NOCASE,
    github_repo TEXT NOT NULL COLLATE NOCASE,
    status TEXT NOT NULL DEFAULT 'active',
    webhook_url TEXT,
    auto_merge_enabled INTEGER NOT NULL,
    auto_confirm_plans INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE UNIQUE INDEX projects_repository ON projects (github_owner, github_repo)
    WHERE status <> 'deleted';

CREATE INDEX projects_by_created_at ON projects (created_at, id) WHERE status <> 'deleted';

CREATE TABLE project_settings (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL UNIQUE REFERENCES projects (id) ON DELETE CASCADE,
    planning_statement TEXT,
    repository_rules TEXT,
    setup_commands TEXT,
    branch_name TEXT NOT NULL DEFAULT 'main',
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE project_keys (
    project_id INTEGER PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    wrapped TEXT NOT NULL
) STRICT;

CREATE TABLE project_secrets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    key_name TEXT NOT NULL,
    ciphertext TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    UNIQUE (project_id, key_name)
) STRICT;

CREATE TABLE audit_entries (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    project_id INTEGER,
    fields TEXT NOT NULL
) STRICT;

CREATE INDEX audit_entries_project ON audit_entries (project_id, id);

CREATE TABLE system_logs (
    id INTEGER PRIMARY KEY,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    component TEXT,
    context TEXT NOT NULL,
    correlation_id TEXT,
    project_id INTEGER,
    agent_run_id INTEGER,
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX system_logs_component ON system_logs (component, id) WHERE component IS NOT NULL;
CREATE INDEX system_logs_correlation ON system_logs (correlation_id, id)
    WHERE correlation_id IS NOT NULL;
CREATE INDEX system_logs_created_at ON system_logs (created_at, id);
CREATE INDEX system_logs_level ON system_logs (level, id);
