-- The index of versions by their project key was changed at random by each new value of a secret, which made
-- such changes a twentieth slower. A key's versions are those of its project, so the unique index finds them.

DROP INDEX secret_versions_project_key;
