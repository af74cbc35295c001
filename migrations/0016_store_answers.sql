-- The answers to requests with an Idempotency-Key, each stored with the effect of its request.
--
-- key_mac is a keyed hash of the token and the key, so neither can be read or guessed from it. sealed
-- is the answer with the hash of its request, encrypted and bound to key_mac and created_at.
CREATE TABLE answer_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    master_key_id TEXT NOT NULL REFERENCES master_keys (key_id),
    wrapped TEXT NOT NULL CHECK (length(wrapped) >= 1),
    is_current INTEGER NOT NULL DEFAULT 1 CHECK (is_current IN (0, 1)),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE UNIQUE INDEX answer_keys_current ON answer_keys (is_current) WHERE is_current = 1;
CREATE INDEX answer_keys_master_key ON answer_keys (master_key_id, id);

-- project_id is the project that the answer is about, or one of several; with the project it goes.
CREATE TABLE stored_answers (
    id INTEGER PRIMARY KEY,
    key_mac BLOB NOT NULL UNIQUE CHECK (length(key_mac) = 16),
    answer_key_id INTEGER NOT NULL REFERENCES answer_keys (id),
    project_id INTEGER REFERENCES projects (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL CHECK (length(sealed) >= 28),
    created_at TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.______Z')
) STRICT;

CREATE INDEX stored_answers_key ON stored_answers (answer_key_id, id);
CREATE INDEX stored_answers_project ON stored_answers (project_id) WHERE project_id IS NOT NULL;
CREATE INDEX stored_answers_created ON stored_answers (created_at, id);

-- The other projects that an answer is about, such as a claim of several runs. The service removes
-- the answer when it purges one of them.
CREATE TABLE stored_answer_projects (
    id INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    answer_id INTEGER NOT NULL REFERENCES stored_answers (id) ON DELETE CASCADE,
    UNIQUE (project_id, answer_id)
) STRICT;

CREATE INDEX stored_answer_projects_answer ON stored_answer_projects (answer_id);

-- The greatest id of a key for answers when the rotation began.
ALTER TABLE key_rotations ADD COLUMN last_old_answer_key_id INTEGER NOT NULL DEFAULT 0;
