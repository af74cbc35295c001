-- A test may run several times in a run: each attempt has a row, and the last one counts.
--
-- is_last marks the attempt with the highest number. flaky is 1 only for a last attempt that passed
-- after an earlier one failed. Results from before this migration are attempt 1.
DROP INDEX test_results_run;
DROP INDEX test_results_run_name;
DROP INDEX test_results_run_status;
DROP INDEX test_results_run_type;

-- A table's own constraint can't be dropped, so the rows move to a new table.
ALTER TABLE test_results RENAME TO results_without_attempts;

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

INSERT INTO test_results (
    id, agent_run_id, test_type, test_name, status, duration_seconds, result_data, error_message,
    screenshot_path, log_path, created_at, updated_at
)
SELECT
    id, agent_run_id, test_type, test_name, status, duration_seconds, result_data, error_message,
    screenshot_path, log_path, created_at, updated_at
FROM results_without_attempts ORDER BY id;

DROP TABLE results_without_attempts;

-- Each row is in one of the first two.
CREATE UNIQUE INDEX test_results_last ON test_results (agent_run_id, test_type, test_name)
    WHERE is_last = 1;
CREATE UNIQUE INDEX test_results_earlier
    ON test_results (agent_run_id, test_type, test_name, attempt) WHERE is_last = 0;
CREATE INDEX test_results_run ON test_results (agent_run_id, is_last, id);
CREATE INDEX test_results_run_status ON test_results (agent_run_id, is_last, status, id);
CREATE INDEX test_results_run_type ON test_results (agent_run_id, is_last, test_type, id);
CREATE INDEX test_results_run_name
    ON test_results (agent_run_id, is_last, test_name, test_type);

-- The files that were uploaded to a run: the same one again changes nothing.
CREATE TABLE test_result_files (
    id INTEGER PRIMARY KEY,
    agent_run_id INTEGER NOT NULL REFERENCES agent_runs (id) ON DELETE CASCADE,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z'),
    UNIQUE (agent_run_id, digest)
) STRICT;
