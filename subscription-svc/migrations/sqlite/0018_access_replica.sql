-- Who holds copies of the access records: each refresh writes here, as in PostgreSQL.
CREATE TABLE access_replica (
    replica_id TEXT PRIMARY KEY,
    beat       INTEGER NOT NULL
) STRICT;
