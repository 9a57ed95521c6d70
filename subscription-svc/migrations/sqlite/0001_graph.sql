-- Graphs and their subgraphs. Times are Unix milliseconds everywhere in this schema.
CREATE TABLE graph (
    graph_id          TEXT PRIMARY KEY,
    org_id            TEXT NOT NULL,
    tier              TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'deprovisioned', 'deleted')),
    shared_repository INTEGER NOT NULL CHECK (shared_repository IN (0, 1)),
    display_name      TEXT NOT NULL,
    endpoint          TEXT,
    created_ms        INTEGER NOT NULL,
    updated_ms        INTEGER NOT NULL,
    deprovisioned_ms  INTEGER
) STRICT;

CREATE TABLE subgraph (
    subgraph_id TEXT PRIMARY KEY,
    graph_id    TEXT NOT NULL REFERENCES graph (graph_id),
    name        TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    deleted_ms  INTEGER
) STRICT;

CREATE INDEX subgraph_alive ON subgraph (graph_id, subgraph_id) WHERE deleted_ms IS NULL;
