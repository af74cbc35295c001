-- How many runs of a project are pending, so that a backlog is told without counting it.

ALTER TABLE run_queues ADD COLUMN pending_runs INTEGER NOT NULL DEFAULT 0
    CHECK (pending_runs >= 0);

UPDATE run_queues SET pending_runs = (
    SELECT count(*) FROM agent_runs AS r
    WHERE r.project_id = run_queues.project_id AND r.status = 'pending'
);

CREATE TRIGGER agent_runs_count_added AFTER INSERT ON agent_runs
WHEN NEW.status = 'pending'
BEGIN
    UPDATE run_queues SET pending_runs = pending_runs + 1 WHERE project_id = NEW.project_id;
END;

CREATE TRIGGER agent_runs_count_changed AFTER UPDATE OF status ON agent_runs
WHEN (OLD.status = 'pending') <> (NEW.status = 'pending')
BEGIN
    UPDATE run_queues
    SET pending_runs = pending_runs + (NEW.status = 'pending') - (OLD.status = 'pending')
    WHERE project_id = NEW.project_id;
END;

CREATE TRIGGER agent_runs_count_removed AFTER DELETE ON agent_runs
WHEN OLD.status = 'pending'
BEGIN
    UPDATE run_queues SET pending_runs = pending_runs - 1 WHERE project_id = OLD.project_id;
END;
