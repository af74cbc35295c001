-- Whether the value of a secret is redacted in what is stored of the project: null if it is, 0 if
-- it is not. Digests and MACs leave it out while it is null, so that those of present rows fit.
ALTER TABLE project_secrets ADD COLUMN redact INTEGER CHECK (redact = 0);
ALTER TABLE secret_versions ADD COLUMN redact INTEGER CHECK (redact = 0);
