-- Runs are found by any part of their target text, through an index of trigrams like that of
-- projects; and listed by their last change and by their worker.
--
-- Like projects, runs are indexed behind the commits that create them, in the order of their ids.

-- The key of a target text that is not ASCII, by which texts are compared without regard to case and
-- Unicode form: see text_key. The key of others is lower(target_text), so it is not stored.
ALTER TABLE agent_runs ADD COLUMN target_key TEXT;
UPDATE agent_runs SET target_key = text_key(target_text)
WHERE length(target_text) <> length(CAST(target_text AS BLOB));

CREATE INDEX agent_runs_status_updated ON agent_runs (status, updated_at, id);
CREATE INDEX agent_runs_project_updated ON agent_runs (project_id, status, updated_at, id);
CREATE INDEX agent_runs_worker ON agent_runs (lease_worker, id) WHERE lease_worker IS NOT NULL;

-- The columns are those of project_index_state.
CREATE TABLE run_index_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_id INTEGER NOT NULL CHECK (indexed_id >= 0),
    last_created_at TEXT NOT NULL,
    in_order INTEGER NOT NULL CHECK (in_order IN (0, 1)),
    untidy INTEGER NOT NULL CHECK (untidy >= 0)
) STRICT;

INSERT INTO run_index_state (id, indexed_id, last_created_at, in_order, untidy)
VALUES (1, 0, '', 1, 0);

-- Runs that were removed, but not yet from the index, with the texts that it has of them. To remove
-- thousands of long texts from the index at once would stop other writes.
CREATE TABLE run_index_removals (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;

CREATE TRIGGER agent_runs_remove_text AFTER DELETE ON agent_runs
WHEN OLD.id <= (SELECT indexed_id FROM run_index_state WHERE id = 1)
BEGIN
    INSERT OR IGNORE INTO run_index_removals (id, text)
    VALUES (OLD.id, coalesce(OLD.target_key, lower(OLD.target_text)));
END;

-- What the index has. Two more characters make each part of a text the beginning of a trigram, also
-- a part of one or two characters at its end.
CREATE VIEW run_index_texts (id, text) AS
SELECT id, coalesce(target_key, lower(target_text)) || char(10) || char(10) FROM agent_runs
WHERE id <= (SELECT indexed_id FROM run_index_state WHERE id = 1)
UNION ALL SELECT id, text || char(10) || char(10) FROM run_index_removals;

CREATE VIRTUAL TABLE run_index USING fts5 (
    text, content = 'run_index_texts', content_rowid = 'id',
    columnsize = 0, detail = none, tokenize = 'trigram case_sensitive 1'
);

-- The trigrams with their runs, in the order of the trigrams.
CREATE VIRTUAL TABLE run_index_trigrams USING fts5vocab ('run_index', 'instance');

-- How many rows have each trigram, by which strongroom verify compares the indexes with the rows.
CREATE VIRTUAL TABLE run_index_counts USING fts5vocab ('run_index', 'row');
CREATE VIRTUAL TABLE project_index_counts USING fts5vocab ('project_index', 'row');
