-- The service's own logs have a limit of their own, and logs are found by time whatever the clock
-- did.

ALTER TABLE system_logs ADD COLUMN own INTEGER NOT NULL DEFAULT 0 CHECK (own IN (0, 1));

UPDATE system_logs SET own = 1 WHERE component LIKE 'strongroom.%' AND project_id IS NULL;

-- Each kind by age, for its removal. The last column is what is asked for, so that counting needs no
-- row of the table.
DROP INDEX system_logs_created_at;
CREATE INDEX system_logs_created_at ON system_logs (created_at, id, own) WHERE own = 0;
CREATE INDEX system_logs_own_created_at ON system_logs (created_at, id, own) WHERE own = 1;

-- The first and the last time of each thousand ids, once the ids of a later thousand are in use.
-- Clocks are set back, and those of several machines differ, so that times need not rise with ids:
-- a range of time is looked for in all blocks that overlap it. A block may reach further than its
-- rows, of which some may have been removed.
CREATE TABLE system_log_blocks (
    block INTEGER PRIMARY KEY CHECK (block >= 0),
    first_at TEXT NOT NULL CHECK (first_at LIKE '____-__-__T__:__:__.______Z'),
    last_at TEXT NOT NULL CHECK (last_at LIKE '____-__-__T__:__:__.______Z'),
    CHECK (first_at <= last_at)
) STRICT;

INSERT INTO system_log_blocks (block, first_at, last_at)
SELECT id / 1000, min(created_at), max(created_at) FROM system_logs
WHERE id / 1000 < (SELECT max(id) / 1000 FROM system_logs)
GROUP BY id / 1000;
