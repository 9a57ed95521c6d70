-- Access records, the counter that orders their changes, and the proof of each version (H1, H4, H6, H29).
CREATE TABLE access_record (
    graph_id TEXT PRIMARY KEY REFERENCES graph (graph_id),
    org_id   TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body     TEXT NOT NULL CHECK (json_valid(body))
) STRICT;

CREATE INDEX access_record_by_revision ON access_record (revision);

CREATE TABLE access_counter (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    version     INTEGER NOT NULL,
    nonce       INTEGER NOT NULL,
    calm_ms     INTEGER NOT NULL CHECK (calm_ms > 0),
    changing_ms INTEGER NOT NULL CHECK (changing_ms > 0)
) STRICT;

INSERT INTO access_counter (only_row, version, nonce, calm_ms, changing_ms) VALUES (1, 0, 0, 60000, 2000);

CREATE TABLE access_change (
    version  INTEGER PRIMARY KEY,
    nonce    INTEGER NOT NULL,
    graph_id TEXT NOT NULL
) STRICT;
