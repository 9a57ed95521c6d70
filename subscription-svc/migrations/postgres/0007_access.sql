-- Access records, the counter that orders their changes, and the proof of each version (H1, H4, H6, H29).
CREATE TABLE access_record (
    graph_id TEXT PRIMARY KEY REFERENCES graph (graph_id),
    org_id   TEXT NOT NULL,
    revision BIGINT NOT NULL,
    body     JSONB NOT NULL
);

CREATE INDEX access_record_by_revision ON access_record (revision);

CREATE TABLE access_counter (
    only_row    INT PRIMARY KEY CHECK (only_row = 1),
    version     BIGINT NOT NULL,
    nonce       BIGINT NOT NULL,
    calm_ms     BIGINT NOT NULL CHECK (calm_ms > 0),
    changing_ms BIGINT NOT NULL CHECK (changing_ms > 0)
);

INSERT INTO access_counter (only_row, version, nonce, calm_ms, changing_ms) VALUES (1, 0, 0, 60000, 2000);

CREATE TABLE access_change (
    version  BIGINT PRIMARY KEY,
    nonce    BIGINT NOT NULL,
    graph_id TEXT NOT NULL
);
