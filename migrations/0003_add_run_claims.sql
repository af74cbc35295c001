-- What numbering runs and giving them to workers needs.
--
-- A project's queue. last_run_number only grows, so that no number is given twice, not even when
-- the newest run was pruned. next_run_id is at most the id of the project's oldest pending run,
-- and null when it has none: a claim that finds it too low sets it right and looks again, so that
-- only what makes a run pending has to keep it. claim_turn is the number of the project's last
-- turn among all claims, and 0 before the first.

CREATE TABLE run_queues (
    project_id INTEGER PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    last_run_number INTEGER NOT NULL CHECK (last_run_number >= 0),
    next_run_id INTEGER CHECK (next_run_id >= 1),
    claim_turn INTEGER NOT NULL DEFAULT 0 CHECK (claim_turn >= 0)
) STRICT;

CREATE INDEX run_queues_waiting ON run_queues (claim_turn, next_run_id)
    WHERE next_run_id IS NOT NULL;
CREATE INDEX run_queues_turn ON run_queues (claim_turn);

INSERT INTO run_queues (project_id, last_run_number, next_run_id)
SELECT project_id, max(run_number), min(CASE WHEN status = 'pending' THEN id END)
FROM agent_runs
GROUP BY project_id;

ALTER TABLE agent_runs ADD COLUMN lease_seconds INTEGER CHECK (lease_seconds BETWEEN 1 AND 3600);

-- A lease outlives its run's end, so that its worker can still hand in what belongs to the run; it
-- can only run out while the run is running. The status is there once more as a column, because
-- the planner would take an index with an equality for better than one with a range alone.
DROP INDEX agent_runs_lease;
CREATE INDEX agent_runs_lease ON agent_runs (status, lease_expires_at, id)
    WHERE status = 'running' AND lease_expires_at IS NOT NULL;
