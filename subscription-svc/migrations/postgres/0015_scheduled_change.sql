-- The tier change that waits for the end of the paid period: the renewal waits for it.
ALTER TABLE subscription ADD COLUMN scheduled_change_id TEXT;
