-- Projects are found by owner/repo, and by names in whatever normal form; runs by their type.
--
-- text_key() is the application's: it folds case and composes what has several forms in Unicode.
-- Two repositories that differed by their form alone are the same from now on; where both are
-- there, one keeps the keys that it has.

UPDATE projects SET name_key = text_key(name) WHERE name_key <> text_key(name);

UPDATE OR IGNORE projects
SET owner_key = text_key(github_owner), repo_key = text_key(github_repo)
WHERE owner_key <> text_key(github_owner) OR repo_key <> text_key(github_repo);

UPDATE projects SET search_text = name_key || char(10) || owner_key || '/' || repo_key;

CREATE INDEX agent_runs_type ON agent_runs (run_type, id);
CREATE INDEX agent_runs_project_type ON agent_runs (project_id, run_type, id);
