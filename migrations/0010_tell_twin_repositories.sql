-- Repositories that earlier versions took for two are told from each other by `twin`.
--
-- They differ by their form in Unicode alone. All of them have the keys of their names, so that each
-- is listed and found; the one that was made first is 0, and the others have their ids. Whatever is
-- written afterwards is 0, and therefore one of its repository. When the first one goes, the
-- next one takes its place.

ALTER TABLE projects ADD COLUMN twin INTEGER NOT NULL DEFAULT 0 CHECK (twin IN (0, id));

DROP INDEX projects_repository;

UPDATE projects
SET owner_key = text_key(github_owner), repo_key = text_key(github_repo),
    search_text = name_key || char(10) || text_key(github_owner) || '/' || text_key(github_repo)
WHERE owner_key <> text_key(github_owner) OR repo_key <> text_key(github_repo);

UPDATE projects SET twin = id
WHERE status <> 'deleted' AND id NOT IN (
    SELECT min(id) FROM projects WHERE status <> 'deleted' GROUP BY owner_key, repo_key
);

CREATE UNIQUE INDEX projects_repository ON projects (owner_key, repo_key, twin)
    WHERE status <> 'deleted';
CREATE INDEX projects_twin ON projects (twin) WHERE twin > 0;

CREATE TRIGGER projects_twin_follows_change
AFTER UPDATE OF status, owner_key, repo_key ON projects
WHEN EXISTS (SELECT 1 FROM projects WHERE twin > 0)
BEGIN
    UPDATE projects SET twin = 0
    WHERE twin > 0 AND status <> 'deleted' AND NOT EXISTS (
        SELECT 1 FROM projects AS first
        WHERE first.owner_key = projects.owner_key AND first.repo_key = projects.repo_key
            AND first.status <> 'deleted' AND first.twin < projects.twin
    );
END;

CREATE TRIGGER projects_twin_follows_removal AFTER DELETE ON projects
WHEN EXISTS (SELECT 1 FROM projects WHERE twin > 0)
BEGIN
    UPDATE projects SET twin = 0
    WHERE twin > 0 AND status <> 'deleted' AND NOT EXISTS (
        SELECT 1 FROM projects AS first
        WHERE first.owner_key = projects.owner_key AND first.repo_key = projects.repo_key
            AND first.status <> 'deleted' AND first.twin < projects.twin
    );
END;
