-- What is sent to webhooks, each delivery once, and a test's way through the runs of its project.
--
-- payload is the text exactly as it came, which its sender has signed. It stands last, so that a
-- list of deliveries is read without its pages.

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

CREATE INDEX webhook_deliveries_webhook ON webhook_deliveries (webhook_id, id);
CREATE INDEX webhook_deliveries_event ON webhook_deliveries (webhook_id, event, id);
CREATE INDEX webhook_deliveries_created_at ON webhook_deliveries (created_at, id);

CREATE INDEX test_results_run_name ON test_results (agent_run_id, test_name, test_type);
