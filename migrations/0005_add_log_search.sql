-- Logs that can be searched, and be removed a little at a time.
--
-- The table is made anew. Its ids are never given out twice, since the index and those who read on
-- from an id go by them. It refers to no project and no run: a cascade over all the logs of a
-- large project would hold up every other write. Instead a trigger notes whose logs have to go;
-- from then on they are hidden, and are removed in batches. A log of a run always names the run's
-- project, so that one note is enough for a project and all its runs.

CREATE TABLE system_logs_before AS SELECT * FROM system_logs;

DROP TABLE system_logs;

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
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    CHECK (agent_run_id IS NULL OR project_id IS NOT NULL)
) STRICT;

INSERT INTO system_logs (id, level, level_no, message, component, context, correlation_id,
    project_id, agent_run_id, created_at)
SELECT l.id, l.level, l.level_no, l.message, l.component, l.context, l.correlation_id,
    coalesce(l.project_id, r.project_id), l.agent_run_id, l.created_at
FROM system_logs_before AS l LEFT JOIN agent_runs AS r ON r.id = l.agent_run_id
ORDER BY l.id;

DROP TABLE system_logs_before;

-- Logs that have one trait only, newest first; all other lists go by the index below. Levels are
-- partial indexes, because a range of levels in one index would not give rows in order of id.
CREATE INDEX system_logs_warning ON system_logs (id) WHERE level_no >= 30;
CREATE INDEX system_logs_error ON system_logs (id) WHERE level_no >= 40;
CREATE INDEX system_logs_critical ON system_logs (id) WHERE level_no >= 50;
CREATE INDEX system_logs_project ON system_logs (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX system_logs_run ON system_logs (agent_run_id, id) WHERE agent_run_id IS NOT NULL;
CREATE INDEX system_logs_created_at ON system_logs (created_at, id);

-- What is indexed of each log: its words, and as labels the traits that lists are filtered by, so
-- that the index finds the rows that have several traits and words without looking at others.
-- Hexadecimal makes one word of any text.
CREATE VIEW system_log_terms (id, message, labels) AS
SELECT id, message,
    'l' || level_no
    || CASE WHEN component IS NULL THEN '' ELSE ' c' || hex(component) END
    || CASE WHEN correlation_id IS NULL THEN '' ELSE ' i' || hex(correlation_id) END
    || coalesce(' p' || project_id, '')
    || coalesce(' r' || agent_run_id, '')
FROM system_logs;

-- Kept by the statements that add and remove logs: to triggers SQLite 3.40 refuses it while
-- trusted_schema is off.
CREATE VIRTUAL TABLE system_log_index USING fts5 (
    message, labels,
    content = 'system_log_terms', content_rowid = 'id',
    columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);

INSERT INTO system_log_index (rowid, message, labels)
SELECT id, message, labels FROM system_log_terms ORDER BY id;

-- Whose logs have to go.
CREATE TABLE system_log_removals (
    id INTEGER PRIMARY KEY,
    project_id INTEGER UNIQUE,
    agent_run_id INTEGER UNIQUE,
    CHECK ((project_id IS NULL) <> (agent_run_id IS NULL))
) STRICT;

CREATE TRIGGER projects_remove_logs AFTER DELETE ON projects
WHEN EXISTS (SELECT 1 FROM system_logs WHERE project_id = OLD.id)
BEGIN
    INSERT INTO system_log_removals (project_id) VALUES (OLD.id);
END;

CREATE TRIGGER agent_runs_remove_logs AFTER DELETE ON agent_runs
WHEN EXISTS (SELECT 1 FROM projects WHERE id = OLD.project_id)
    AND EXISTS (SELECT 1 FROM system_logs WHERE agent_run_id = OLD.id)
BEGIN
    INSERT INTO system_log_removals (agent_run_id) VALUES (OLD.id);
END;

-- Finished runs by age, for their removal.
CREATE INDEX agent_runs_completed_at ON agent_runs (completed_at, id)
    WHERE completed_at IS NOT NULL;
