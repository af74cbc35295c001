-- Projects are found by any part of their name or of owner/repo, through an index of trigrams.
--
-- The service indexes projects in the order of their ids, behind the commits that create them, and
-- searches the others by reading them. So this migration takes no time, whatever the number of
-- projects. Changes of an indexed project change the index in the same transaction.
--
-- indexed_id is the last project that was indexed. in_order is 1 as long as created_at of the
-- indexed projects has risen with their ids; last_created_at is that of the last one. untidy is the
-- number of purged projects whose trigrams the index may still have.
CREATE TABLE project_index_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    indexed_id INTEGER NOT NULL CHECK (indexed_id >= 0),
    last_created_at TEXT NOT NULL,
    in_order INTEGER NOT NULL CHECK (in_order IN (0, 1)),
    untidy INTEGER NOT NULL CHECK (untidy >= 0)
) STRICT;

INSERT INTO project_index_state (id, indexed_id, last_created_at, in_order, untidy)
VALUES (1, 0, '', 1, 0);

-- The indexed projects. Two more characters make each part of a text the beginning of a trigram,
-- also a part of one or two characters at its end.
CREATE VIEW project_index_texts (id, text) AS
SELECT id, search_text || char(10) || char(10) FROM projects
WHERE id <= (SELECT indexed_id FROM project_index_state WHERE id = 1);

CREATE VIRTUAL TABLE project_index USING fts5 (
    text, content = 'project_index_texts', content_rowid = 'id',
    columnsize = 0, detail = none, tokenize = 'trigram case_sensitive 1'
);

-- The trigrams with their projects, in the order of the trigrams.
CREATE VIRTUAL TABLE project_index_trigrams USING fts5vocab ('project_index', 'instance');
