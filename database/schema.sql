-- The whole schema, as the migrations make it. Written by `make schema`.

CREATE TABLE agent_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    run_number INTEGER NOT NULL CHECK (run_number >= 1),
    target_text TEXT NOT NULL CHECK (length(target_text) BETWEEN 1 AND 50000),
    planning_statement TEXT CHECK (length(planning_statement) <= 1000000),
    run_type TEXT NOT NULL DEFAULT 'regular' CHECK (run_type IN ('regular', 'plan', 'pr')),
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled')),
    result TEXT CHECK (length(result) <= 1000000),
    error_message TEXT CHECK (length(error_message) <= 1000000),
    pr_number INTEGER CHECK (pr_number >= 1),
    pr_url TEXT CHECK (length(pr_url) <= 2048),
    web_url TEXT CHECK (length(web_url) <= 2048),
    codegen_run_id TEXT CHECK (length(codegen_run_id) <= 255),
    validation_status TEXT NOT NULL DEFAULT 'pending'
        CHECK (validation_status IN ('pending', 'running', 'passed', 'failed', 'skipped')),
    auto_merge_enabled INTEGER NOT NULL DEFAULT 0 CHECK (auto_merge_enabled IN (0, 1)),
    merge_completed INTEGER NOT NULL DEFAULT 0 CHECK (merge_completed IN (0, 1)),
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (length(metadata) <= 65536),
    settings_version INTEGER CHECK (settings_version >= 0),
    lease_token_hash TEXT,
    lease_worker TEXT CHECK (length(lease_worker) BETWEEN 1 AND 255),
    lease_expires_at TEXT CHECK (lease_expires_at LIKE '____-__-__T__:__:__.______Z'),
    lease_expiries INTEGER NOT NULL DEFAULT 0 CHECK (lease_expiries >= 0),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z'),
    started_at TEXT CHECK (started_at LIKE '____-__-__T__:__:__.______Z'),
    completed_at TEXT CHECK (completed_at LIKE '____-__-__T__:__:__.______Z'),
    version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1), lease_seconds INTEGER CHECK (lease_seconds BETWEEN 1 AND 3600), target_key TEXT,
    UNIQUE (project_id, run_number),
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CHECK (status NOT IN ('running', 'paused', 'completed') OR started_at IS NOT NULL),
    CHECK ((lease_token_hash IS NULL) = (lease_expires_at IS NULL)),
    CHECK ((lease_token_hash IS NULL) = (lease_worker IS NULL))
) STRICT;

CREATE INDEX agent_runs_completed_at ON agent_runs (completed_at, id)
    WHERE completed_at IS NOT NULL;

CREATE INDEX agent_runs_lease ON agent_runs (status, lease_expires_at, id)
    WHERE status = 'running' AND lease_expires_at IS NOT NULL;

CREATE INDEX agent_runs_project ON agent_runs (project_id, id);

CREATE INDEX agent_runs_project_status ON agent_runs (project_id, status, id);

CREATE INDEX agent_runs_project_type ON agent_runs (project_id, run_type, id);

CREATE INDEX agent_runs_project_updated ON agent_runs (project_id, status, updated_at, id);

CREATE INDEX agent_runs_settings ON agent_runs (project_id, settings_version);

CREATE INDEX agent_runs_status ON agent_runs (status, id);

CREATE INDEX agent_runs_status_updated ON agent_runs (status, updated_at, id);

CREATE INDEX agent_runs_type ON agent_runs (run_type, id);

CREATE INDEX agent_runs_worker ON agent_runs (lease_worker, id) WHERE lease_worker IS NOT NULL;

CREATE TRIGGER agent_runs_count_added AFTER INSERT ON agent_runs
BEGIN
    UPDATE run_queues SET
        pending_runs = pending_runs + (NEW.status = 'pending'),
        running_runs = running_runs + (NEW.status = 'running'),
        paused_runs = paused_runs + (NEW.status = 'paused'),
        completed_runs = completed_runs + (NEW.status = 'completed'),
        failed_runs = failed_runs + (NEW.status = 'failed'),
        cancelled_runs = cancelled_runs + (NEW.status = 'cancelled'),
        last_completed_at = coalesce(
            max(last_completed_at, NEW.completed_at), last_completed_at, NEW.completed_at
        )
    WHERE project_id = NEW.project_id;
END;

CREATE TRIGGER agent_runs_count_changed AFTER UPDATE OF status ON agent_runs
WHEN OLD.status <> NEW.status
BEGIN
    UPDATE run_queues SET
        pending_runs = pending_runs + (NEW.status = 'pending') - (OLD.status = 'pending'),
        running_runs = running_runs + (NEW.status = 'running') - (OLD.status = 'running'),
        paused_runs = paused_runs + (NEW.status = 'paused') - (OLD.status = 'paused'),
        completed_runs = completed_runs + (NEW.status = 'completed') - (OLD.status = 'completed'),
        failed_runs = failed_runs + (NEW.status = 'failed') - (OLD.status = 'failed'),
        cancelled_runs = cancelled_runs + (NEW.status = 'cancelled') - (OLD.status = 'cancelled'),
        last_completed_at = coalesce(
            max(last_completed_at, NEW.completed_at), last_completed_at, NEW.completed_at
        )
    WHERE project_id = NEW.project_id;
END;

CREATE TRIGGER agent_runs_count_removed AFTER DELETE ON agent_runs
BEGIN
    UPDATE run_queues SET
        pending_runs = pending_runs - (OLD.status = 'pending'),
        running_runs = running_runs - (OLD.status = 'running'),
        paused_runs = paused_runs - (OLD.status = 'paused'),
        completed_runs = completed_runs - (OLD.status = 'completed'),
        failed_runs = failed_runs - (OLD.status = 'failed'),
        cancelled_runs = cancelled_runs - (OLD.status = 'cancelled')
    WHERE project_id = OLD.project_id;
END;

CREATE TRIGGER agent_runs_remove_logs AFTER DELETE ON agent_runs
WHEN EXISTS (SELECT 1 FROM projects WHERE id = OLD.project_id)
    AND EXISTS (SELECT 1 FROM system_logs WHERE agent_run_id = OLD.id)
BEGIN
    INSERT INTO system_log_removals (agent_run_id) VALUES (OLD.id);
END;

CREATE TRIGGER agent_runs_remove_text AFTER DELETE ON agent_runs
WHEN OLD.id <= (SELECT indexed_id FROM run_index_state WHERE id = 1)
BEGIN
    INSERT OR IGNORE INTO run_index_removals (id, text)
    VALUES (OLD.id, coalesce(OLD.target_key, lower(OLD.target_text)));
END;

CREATE TABLE answer_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    master_key_id TEXT NOT NULL REFERENCES master_keys (key_id),
    wrapped TEXT NOT NULL CHECK (length(wrapped) >= 1),
    is_current INTEGER NOT NULL DEFAULT 1 CHECK (is_current IN (0, 1)),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE UNIQUE INDEX answer_keys_current ON answer_keys (is_current) WHERE is_current = 1;

CREATE INDEX answer_keys_master_key ON answer_keys (master_key_id, id);

CREATE TABLE api_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    mac TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    project_ids TEXT,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    expires_at TEXT CHECK (expires_at LIKE '____-__-__T__:__:__.______Z'),
    last_used_at TEXT CHECK (last_used_at LIKE '____-__-__T__:__:__.______Z'),
    revoked_at TEXT CHECK (revoked_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE TABLE audit_anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last_id INTEGER NOT NULL CHECK (last_id >= 1),
    last_mac TEXT NOT NULL CHECK (length(last_mac) = 64),
    kept INTEGER NOT NULL CHECK (kept >= 0),
    mac TEXT NOT NULL CHECK (length(mac) = 64)
) STRICT;

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
, version INTEGER CHECK (version >= 1), digest TEXT CHECK (length(digest) BETWEEN 1 AND 100), address TEXT CHECK (length(address) BETWEEN 1 AND 100), previous_mac TEXT CHECK (length(previous_mac) = 64)) STRICT;

CREATE INDEX audit_entries_action ON audit_entries (action, id);

CREATE INDEX audit_entries_actor ON audit_entries (actor, id);

CREATE INDEX audit_entries_project ON audit_entries (project_id, id) WHERE project_id IS NOT NULL;

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

CREATE TABLE grainchain_snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_run_id INTEGER NOT NULL REFERENCES agent_runs (id) ON DELETE CASCADE,
    snapshot_id TEXT NOT NULL CHECK (length(snapshot_id) BETWEEN 1 AND 255),
    status TEXT NOT NULL DEFAULT 'creating'
        CHECK (status IN ('creating', 'ready', 'running', 'completed', 'failed', 'destroyed')),
    config TEXT NOT NULL DEFAULT '{}' CHECK (length(config) <= 65536),
    validation_results TEXT CHECK (length(validation_results) <= 65536),
    error_message TEXT CHECK (length(error_message) <= 1000000),
    destroyed_at TEXT CHECK (destroyed_at LIKE '____-__-__T__:__:__.______Z'),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z'),
    version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1),
    UNIQUE (agent_run_id, snapshot_id)
) STRICT;

CREATE INDEX grainchain_snapshots_run ON grainchain_snapshots (agent_run_id, id);

CREATE TABLE guarded_targets (
    target TEXT PRIMARY KEY,
    entry_id INTEGER NOT NULL CHECK (entry_id >= 1)
) STRICT, WITHOUT ROWID;

CREATE TABLE installation (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    installation_id TEXT NOT NULL CHECK (length(installation_id) BETWEEN 1 AND 100),
    master_key_id TEXT NOT NULL REFERENCES master_keys (key_id),
    wrapped_key TEXT NOT NULL CHECK (length(wrapped_key) >= 1),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
, epoch INTEGER NOT NULL DEFAULT 1 CHECK (epoch >= 1)) STRICT;

CREATE TABLE key_rotations (
    id INTEGER PRIMARY KEY,
    reencrypt INTEGER NOT NULL CHECK (reencrypt IN (0, 1)),
    last_old_key_id INTEGER NOT NULL CHECK (last_old_key_id >= 0),
    total INTEGER NOT NULL CHECK (total >= 0),
    done INTEGER NOT NULL DEFAULT 0 CHECK (done >= 0),
    failed INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    started_at TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__.______Z'),
    finished_at TEXT CHECK (finished_at LIKE '____-__-__T__:__:__.______Z')
, last_old_answer_key_id INTEGER NOT NULL DEFAULT 0) STRICT;

CREATE UNIQUE INDEX key_rotations_running ON key_rotations ((finished_at IS NULL))
    WHERE finished_at IS NULL;

CREATE TABLE master_keys (
    key_id TEXT NOT NULL PRIMARY KEY CHECK (length(key_id) BETWEEN 1 AND 100),
    canary TEXT NOT NULL,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_run_id INTEGER NOT NULL REFERENCES agent_runs (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user', 'agent', 'system')),
    content TEXT NOT NULL CHECK (length(content) BETWEEN 1 AND 1000000),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE INDEX messages_run ON messages (agent_run_id, id);

CREATE INDEX messages_run_role ON messages (agent_run_id, role, id);

CREATE TABLE pipeline_states (
    id INTEGER PRIMARY KEY,
    agent_run_id INTEGER NOT NULL REFERENCES agent_runs (id) ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN (
        'created', 'webhook_setup', 'agent_running', 'plan_confirmation', 'pr_created',
        'snapshot_creating', 'deployment_running', 'testing', 'validation_complete',
        'auto_merging', 'completed', 'failed', 'cancelled')),
    previous_state TEXT CHECK (previous_state IN (
        'created', 'webhook_setup', 'agent_running', 'plan_confirmation', 'pr_created',
        'snapshot_creating', 'deployment_running', 'testing', 'validation_complete',
        'auto_merging', 'completed', 'failed', 'cancelled')),
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (length(metadata) <= 65536),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE INDEX pipeline_states_run ON pipeline_states (agent_run_id, id);

CREATE VIRTUAL TABLE project_index USING fts5 (
    text, content = 'project_index_texts', content_rowid = 'id',
    columnsize = 0, detail = none, tokenize = 'trigram case_sensitive 1'
);

CREATE VIRTUAL TABLE project_index_counts USING fts5vocab ('project_index', 'row');

CREATE TABLE project_index_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_id INTEGER NOT NULL CHECK (indexed_id >= 0),
    last_created_at TEXT NOT NULL,
    in_order INTEGER NOT NULL CHECK (in_order IN (0, 1)),
    untidy INTEGER NOT NULL CHECK (untidy >= 0)
) STRICT;

CREATE VIRTUAL TABLE project_index_trigrams USING fts5vocab ('project_index', 'instance');

CREATE TABLE project_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    master_key_id TEXT NOT NULL REFERENCES master_keys (key_id),
    wrapped TEXT NOT NULL CHECK (length(wrapped) >= 1),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    retired_at TEXT CHECK (retired_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE UNIQUE INDEX project_keys_current ON project_keys (project_id) WHERE retired_at IS NULL;

CREATE INDEX project_keys_master_key ON project_keys (master_key_id, id);

CREATE INDEX project_keys_project ON project_keys (project_id, id);

CREATE TABLE project_secrets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    project_key_id INTEGER NOT NULL REFERENCES project_keys (id),
    key_name TEXT NOT NULL CHECK (length(key_name) BETWEEN 1 AND 100),
    ciphertext TEXT NOT NULL CHECK (length(ciphertext) >= 1),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z'),
    version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1), actor TEXT, redact INTEGER CHECK (redact = 0),
    UNIQUE (project_id, key_name)
) STRICT;

CREATE INDEX project_secrets_project ON project_secrets (project_id, id);

CREATE INDEX project_secrets_project_key ON project_secrets (project_key_id);

CREATE TABLE project_settings (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL UNIQUE REFERENCES projects (id) ON DELETE CASCADE,
    planning_statement TEXT CHECK (length(planning_statement) <= 1000000),
    repository_rules TEXT CHECK (length(repository_rules) <= 1000000),
    setup_commands TEXT CHECK (length(setup_commands) <= 1000000),
    branch_name TEXT NOT NULL DEFAULT 'main' CHECK (length(branch_name) BETWEEN 1 AND 244),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z'),
    version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1)
, actor TEXT, fields TEXT) STRICT;

CREATE TABLE projects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    github_owner TEXT NOT NULL CHECK (length(github_owner) BETWEEN 1 AND 100),
    github_repo TEXT NOT NULL CHECK (length(github_repo) BETWEEN 1 AND 100),
    name_key TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    repo_key TEXT NOT NULL,
    search_text TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'inactive', 'archived', 'deleted')),
    webhook_url TEXT CHECK (length(webhook_url) BETWEEN 1 AND 2048),
    auto_merge_enabled INTEGER NOT NULL DEFAULT 0 CHECK (auto_merge_enabled IN (0, 1)),
    auto_confirm_plans INTEGER NOT NULL DEFAULT 0 CHECK (auto_confirm_plans IN (0, 1)),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z'),
    version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1)
, twin INTEGER NOT NULL DEFAULT 0 CHECK (twin IN (0, id))) STRICT;

CREATE INDEX projects_by_created_at ON projects (created_at, id) WHERE status <> 'deleted';

CREATE INDEX projects_by_name ON projects (name_key, id) WHERE status <> 'deleted';

CREATE INDEX projects_by_updated_at ON projects (updated_at, id) WHERE status <> 'deleted';

CREATE INDEX projects_owner_by_created_at ON projects (owner_key, status, created_at, id);

CREATE INDEX projects_owner_by_name ON projects (owner_key, status, name_key, id);

CREATE INDEX projects_owner_by_updated_at ON projects (owner_key, status, updated_at, id);

CREATE UNIQUE INDEX projects_repository ON projects (owner_key, repo_key, twin)
    WHERE status <> 'deleted';

CREATE INDEX projects_status_by_created_at ON projects (status, created_at, id);

CREATE INDEX projects_status_by_name ON projects (status, name_key, id);

CREATE INDEX projects_status_by_updated_at ON projects (status, updated_at, id);

CREATE INDEX projects_twin ON projects (twin) WHERE twin > 0;

CREATE TRIGGER projects_remove_logs AFTER DELETE ON projects
WHEN EXISTS (SELECT 1 FROM system_logs WHERE project_id = OLD.id)
BEGIN
    INSERT INTO system_log_removals (project_id) VALUES (OLD.id);
END;

CREATE TRIGGER projects_twin_follows_change
AFTER UPDATE OF status, owner_key, repo_key ON projects
WHEN EXISTS (SELECT 1 FROM projects WHERE twin > 0)
BEGIN
    UPDATE projects SET twin = 0
    WHERE twin > 0 AND status <> 'deleted' AND NOT EXISTS (
        SELECT 1 FROM projects AS first
        WHERE first.owner_key = projects.owner_key AND first.repo_key = projects.repo_key
            AND first.status <> 'deleted' AND first.twin < projects.twin
    );
END;

CREATE TRIGGER projects_twin_follows_removal AFTER DELETE ON projects
WHEN EXISTS (SELECT 1 FROM projects WHERE twin > 0)
BEGIN
    UPDATE projects SET twin = 0
    WHERE twin > 0 AND status <> 'deleted' AND NOT EXISTS (
        SELECT 1 FROM projects AS first
        WHERE first.owner_key = projects.owner_key AND first.repo_key = projects.repo_key
            AND first.status <> 'deleted' AND first.twin < projects.twin
    );
END;

CREATE VIRTUAL TABLE run_index USING fts5 (
    text, content = 'run_index_texts', content_rowid = 'id',
    columnsize = 0, detail = none, tokenize = 'trigram case_sensitive 1'
);

CREATE VIRTUAL TABLE run_index_counts USING fts5vocab ('run_index', 'row');

CREATE TABLE run_index_removals (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE run_index_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_id INTEGER NOT NULL CHECK (indexed_id >= 0),
    last_created_at TEXT NOT NULL,
    in_order INTEGER NOT NULL CHECK (in_order IN (0, 1)),
    untidy INTEGER NOT NULL CHECK (untidy >= 0)
) STRICT;

CREATE VIRTUAL TABLE run_index_trigrams USING fts5vocab ('run_index', 'instance');

CREATE TABLE run_queues (
    project_id INTEGER PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    last_run_number INTEGER NOT NULL CHECK (last_run_number >= 0),
    next_run_id INTEGER CHECK (next_run_id >= 1),
    claim_turn INTEGER NOT NULL DEFAULT 0 CHECK (claim_turn >= 0)
, pending_runs INTEGER NOT NULL DEFAULT 0
    CHECK (pending_runs >= 0), running_runs INTEGER NOT NULL DEFAULT 0, paused_runs INTEGER NOT NULL DEFAULT 0, completed_runs INTEGER NOT NULL DEFAULT 0, failed_runs INTEGER NOT NULL DEFAULT 0, cancelled_runs INTEGER NOT NULL DEFAULT 0, last_completed_at TEXT) STRICT;

CREATE INDEX run_queues_turn ON run_queues (claim_turn);

CREATE INDEX run_queues_waiting ON run_queues (claim_turn, next_run_id)
    WHERE next_run_id IS NOT NULL;

CREATE TABLE schema_migrations (
    version INTEGER PRIMARY KEY CHECK (version >= 1),
    name TEXT NOT NULL,
    checksum TEXT NOT NULL CHECK (length(checksum) = 64),
    applied_at TEXT NOT NULL CHECK (applied_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

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
    mac TEXT NOT NULL, redact INTEGER CHECK (redact = 0),
    UNIQUE (project_id, key_name, version),
    CHECK ((ciphertext IS NULL) = (project_key_id IS NULL)),
    CHECK ((ciphertext IS NULL) = (destroyed_at IS NOT NULL))
) STRICT;

CREATE INDEX secret_versions_deleted ON secret_versions (deleted_at, id)
    WHERE deleted_at IS NOT NULL;

CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    token_id INTEGER NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
    mac TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    expires_at TEXT NOT NULL CHECK (expires_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE INDEX sessions_expires_at ON sessions (expires_at, id);

CREATE INDEX sessions_token ON sessions (token_id);

CREATE TABLE stored_answer_projects (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    answer_id INTEGER NOT NULL REFERENCES stored_answers (id) ON DELETE CASCADE,
    UNIQUE (project_id, answer_id)
) STRICT;

CREATE INDEX stored_answer_projects_answer ON stored_answer_projects (answer_id);

CREATE TABLE stored_answers (
    id INTEGER PRIMARY KEY,
    key_mac BLOB NOT NULL UNIQUE CHECK (length(key_mac) = 16),
    answer_key_id INTEGER NOT NULL REFERENCES answer_keys (id),
    project_id INTEGER REFERENCES projects (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL CHECK (length(sealed) >= 28),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE INDEX stored_answers_created ON stored_answers (created_at, id);

CREATE INDEX stored_answers_key ON stored_answers (answer_key_id, id);

CREATE INDEX stored_answers_project ON stored_answers (project_id) WHERE project_id IS NOT NULL;

CREATE TABLE system_log_blocks (
    block INTEGER PRIMARY KEY CHECK (block >= 0),
    first_at TEXT NOT NULL CHECK (first_at LIKE '____-__-__T__:__:__.______Z'),
    last_at TEXT NOT NULL CHECK (last_at LIKE '____-__-__T__:__:__.______Z'), first_timestamp TEXT
    CHECK (first_timestamp LIKE '____-__-__T__:__:__.______Z'), last_timestamp TEXT
    CHECK (last_timestamp LIKE '____-__-__T__:__:__.______Z'),
    CHECK (first_at <= last_at)
) STRICT;

CREATE VIRTUAL TABLE system_log_index USING fts5 (
    message, labels,
    content = 'system_log_terms', content_rowid = 'id',
    columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TABLE system_log_moves (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    first_id INTEGER NOT NULL CHECK (first_id >= 1),
    first_last_id INTEGER NOT NULL CHECK (first_last_id >= first_id),
    last_id INTEGER NOT NULL CHECK (last_id BETWEEN 0 AND first_last_id)
) STRICT;

CREATE TABLE system_log_removals (
    id INTEGER PRIMARY KEY,
    project_id INTEGER UNIQUE,
    agent_run_id INTEGER UNIQUE,
    CHECK ((project_id IS NULL) <> (agent_run_id IS NULL))
) STRICT;

CREATE VIRTUAL TABLE system_log_words USING fts5 (
    message, labels,
    content = 'system_log_terms', content_rowid = 'id',
    columnsize = 0, tokenize = "ascii tokenchars '$+<=>|~'"
);

CREATE TABLE system_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    level TEXT NOT NULL CHECK (level IN ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')),
    level_no INTEGER NOT NULL CHECK (level_no = CASE level
        WHEN 'DEBUG' THEN 10 WHEN 'INFO' THEN 20 WHEN 'WARNING' THEN 30
        WHEN 'ERROR' THEN 40 WHEN 'CRITICAL' THEN 50 END),
    message TEXT NOT NULL CHECK (length(message) BETWEEN 1 AND 10000),
    component TEXT CHECK (length(component) BETWEEN 1 AND 100),
    context TEXT NOT NULL DEFAULT '{}' CHECK (length(context) <= 65536),
    correlation_id TEXT CHECK (length(correlation_id) BETWEEN 1 AND 100),
    project_id INTEGER CHECK (project_id >= 1),
    agent_run_id INTEGER CHECK (agent_run_id >= 1),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'), own INTEGER NOT NULL DEFAULT 0 CHECK (own IN (0, 1)), timestamp TEXT
    CHECK (timestamp LIKE '____-__-__T__:__:__.______Z'),
    CHECK (agent_run_id IS NULL OR project_id IS NOT NULL)
) STRICT;

CREATE INDEX system_logs_created_at ON system_logs (created_at, id, own) WHERE own = 0;

CREATE INDEX system_logs_critical ON system_logs (id) WHERE level_no >= 50;

CREATE INDEX system_logs_error ON system_logs (id) WHERE level_no >= 40;

CREATE INDEX system_logs_own_created_at ON system_logs (created_at, id, own) WHERE own = 1;

CREATE INDEX system_logs_project ON system_logs (project_id, id) WHERE project_id IS NOT NULL;

CREATE INDEX system_logs_run ON system_logs (agent_run_id, id) WHERE agent_run_id IS NOT NULL;

CREATE INDEX system_logs_warning ON system_logs (id) WHERE level_no >= 30;

CREATE TABLE test_result_files (
    id INTEGER PRIMARY KEY,
    agent_run_id INTEGER NOT NULL REFERENCES agent_runs (id) ON DELETE CASCADE,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    UNIQUE (agent_run_id, digest)
) STRICT;

CREATE TABLE test_results (
    id INTEGER PRIMARY KEY,
    agent_run_id INTEGER NOT NULL REFERENCES agent_runs (id) ON DELETE CASCADE,
    test_type TEXT NOT NULL CHECK (length(test_type) BETWEEN 1 AND 100),
    test_name TEXT NOT NULL CHECK (length(test_name) BETWEEN 1 AND 500),
    attempt INTEGER NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    is_last INTEGER NOT NULL DEFAULT 1 CHECK (is_last IN (0, 1)),
    flaky INTEGER NOT NULL DEFAULT 0
        CHECK (flaky IN (0, 1) AND (flaky = 0 OR (is_last = 1 AND status = 'passed'))),
    status TEXT NOT NULL
        CHECK (status IN ('pending', 'running', 'passed', 'failed', 'skipped', 'error')),
    duration_seconds REAL CHECK (duration_seconds >= 0),
    result_data TEXT CHECK (length(result_data) <= 65536),
    error_message TEXT CHECK (length(error_message) <= 1000000),
    screenshot_path TEXT CHECK (length(screenshot_path) <= 4096),
    log_path TEXT CHECK (length(log_path) <= 4096),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE UNIQUE INDEX test_results_earlier
    ON test_results (agent_run_id, test_type, test_name, attempt) WHERE is_last = 0;

CREATE UNIQUE INDEX test_results_last ON test_results (agent_run_id, test_type, test_name)
    WHERE is_last = 1;

CREATE INDEX test_results_run ON test_results (agent_run_id, is_last, id);

CREATE INDEX test_results_run_name
    ON test_results (agent_run_id, is_last, test_name, test_type);

CREATE INDEX test_results_run_status ON test_results (agent_run_id, is_last, status, id);

CREATE INDEX test_results_run_type ON test_results (agent_run_id, is_last, test_type, id);

CREATE TABLE webhook_deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    guid TEXT NOT NULL CHECK (length(guid) BETWEEN 1 AND 100),
    event TEXT NOT NULL CHECK (length(event) BETWEEN 1 AND 100),
    action TEXT CHECK (length(action) BETWEEN 1 AND 100),
    payload_bytes INTEGER NOT NULL CHECK (payload_bytes >= 2),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    payload TEXT NOT NULL,
    UNIQUE (webhook_id, guid)
) STRICT;

CREATE INDEX webhook_deliveries_created_at ON webhook_deliveries (created_at, id);

CREATE INDEX webhook_deliveries_event ON webhook_deliveries (webhook_id, event, id);

CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);

CREATE TABLE webhooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    webhook_type TEXT NOT NULL
        CHECK (webhook_type IN ('github_pr', 'github_push', 'cloudflare', 'custom')),
    webhook_url TEXT CHECK (length(webhook_url) BETWEEN 1 AND 2048),
    events TEXT NOT NULL DEFAULT '[]' CHECK (length(events) <= 65536),
    is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    secret_ciphertext TEXT,
    project_key_id INTEGER REFERENCES project_keys (id),
    secret_version INTEGER NOT NULL DEFAULT 0 CHECK (secret_version >= 0),
    last_triggered_at TEXT CHECK (last_triggered_at LIKE '____-__-__T__:__:__.______Z'),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    updated_at TEXT NOT NULL CHECK (updated_at LIKE '____-__-__T__:__:__.______Z'),
    version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1),
    CHECK ((secret_ciphertext IS NULL) = (project_key_id IS NULL))
) STRICT;

CREATE INDEX webhooks_project ON webhooks (project_id, id);

CREATE INDEX webhooks_project_key ON webhooks (project_key_id) WHERE project_key_id IS NOT NULL;

CREATE VIEW project_index_texts (id, text) AS
SELECT id, search_text || char(10) || char(10) FROM projects
WHERE id <= (SELECT indexed_id FROM project_index_state WHERE id = 1);

CREATE VIEW run_index_texts (id, text) AS
SELECT id, coalesce(target_key, lower(target_text)) || char(10) || char(10) FROM agent_runs
WHERE id <= (SELECT indexed_id FROM run_index_state WHERE id = 1)
UNION ALL SELECT id, text || char(10) || char(10) FROM run_index_removals;

CREATE VIEW system_log_terms (id, message, labels) AS
SELECT id, message,
    'l' || level_no
    || CASE WHEN component IS NULL THEN '' ELSE ' c' || hex(component) END
    || CASE WHEN correlation_id IS NULL THEN '' ELSE ' i' || hex(correlation_id) END
    || coalesce(' p' || project_id, '')
    || coalesce(' r' || agent_run_id, '')
FROM system_logs;
