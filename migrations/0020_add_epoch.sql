-- Ids of events are read together with an epoch, because a restored database gives its ids out again.
-- An installation begins with epoch 1. One that is migrated begins another, the time in seconds, since
-- its file may be a backup that was restored before.

ALTER TABLE installation ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1 CHECK (epoch >= 1);

UPDATE installation SET epoch = CAST(strftime('%s', 'now') AS INTEGER);
