-- When each replica refreshed last: processes have names of their own, and those that are gone are to be forgotten.
ALTER TABLE access_replica ADD COLUMN seen_at TIMESTAMPTZ NOT NULL DEFAULT now();
