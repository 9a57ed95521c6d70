-- When each replica refreshed last.
ALTER TABLE access_replica ADD COLUMN seen_at TEXT NOT NULL DEFAULT '';
