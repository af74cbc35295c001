-- How many runs of a project have each status, and when one of them ended last, so that a list of
-- projects tells it without counting. pending_runs is there already.
--
-- A list shows the numbers, and nothing else depends on them: so a wrong one, which only another
-- program can have caused, must not keep runs from changing, as a CHECK would.

ALTER TABLE run_queues ADD COLUMN running_runs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run_queues ADD COLUMN paused_runs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run_queues ADD COLUMN completed_runs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run_queues ADD COLUMN failed_runs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run_queues ADD COLUMN cancelled_runs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run_queues ADD COLUMN last_completed_at TEXT;

-- The table is read once in its order, because an index by project would lead to each row on its
-- own.
UPDATE run_queues SET
    running_runs = counted.running,
    paused_runs = counted.paused,
    completed_runs = counted.completed,
    failed_runs = counted.failed,
    cancelled_runs = counted.cancelled,
    last_completed_at = counted.last_completed_at
FROM (
    SELECT
        project_id,
        sum(status = 'running') AS running,
        sum(status = 'paused') AS paused,
        sum(status = 'completed') AS completed,
        sum(status = 'failed') AS failed,
        sum(status = 'cancelled') AS cancelled,
        max(completed_at) AS last_completed_at
    FROM agent_runs NOT INDEXED
    GROUP BY project_id
) AS counted
WHERE counted.project_id = run_queues.project_id;

DROP TRIGGER agent_runs_count_added;
DROP TRIGGER agent_runs_count_changed;
DROP TRIGGER agent_runs_count_removed;

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
