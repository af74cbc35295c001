-- The words of logs, as the program splits them: the same for every engine.
--
-- Logs that are here already stay in system_log_index until the service has moved them, the newest
-- first and a few at a time: each log is in exactly one of the two indexes. A later version drops
-- the empty one.

-- The words of a message and the labels of a log, separated by blanks. The index stores neither: who
-- reads it gets what they were made of, and to remove a log, the program splits its message again.
-- All characters of words are word characters to SQLite; those of ASCII are letters, digits and
-- symbols.
CREATE VIRTUAL TABLE system_log_words USING fts5 (
    message, labels,
    content = 'system_log_terms', content_rowid = 'id',
    columnsize = 0, tokenize = "ascii tokenchars '$+<=>|~'"
);

-- One row until all logs are moved: those with ids up to last_id are still in system_log_index.
-- Their ids were first_id to first_last_id when the move began.
CREATE TABLE system_log_moves (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    first_id INTEGER NOT NULL CHECK (first_id >= 1),
    first_last_id INTEGER NOT NULL CHECK (first_last_id >= first_id),
    last_id INTEGER NOT NULL CHECK (last_id BETWEEN 0 AND first_last_id)
) STRICT;

INSERT INTO system_log_moves (id, first_id, first_last_id, last_id)
SELECT 1, least, most, most
FROM (SELECT (SELECT min(id) FROM system_logs) AS least, (SELECT max(id) FROM system_logs) AS most)
WHERE most IS NOT NULL;
