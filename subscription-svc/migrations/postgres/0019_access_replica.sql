-- Who holds copies of the access records: each refresh writes here, so that only a primary that takes writes can answer it (H2).
CREATE TABLE access_replica (
    replica_id TEXT PRIMARY KEY,
    beat       BIGINT NOT NULL
);
