-- When a log happened, as its sender says; created_at is when it was stored.

ALTER TABLE system_logs ADD COLUMN timestamp TEXT
    CHECK (timestamp LIKE '____-__-__T__:__:__.______Z');

-- The same ranges as those of created_at, of when the logs of a block happened. NULL in the blocks
-- of earlier versions, whose logs have no timestamp.
ALTER TABLE system_log_blocks ADD COLUMN first_timestamp TEXT
    CHECK (first_timestamp LIKE '____-__-__T__:__:__.______Z');
ALTER TABLE system_log_blocks ADD COLUMN last_timestamp TEXT
    CHECK (last_timestamp LIKE '____-__-__T__:__:__.______Z');
