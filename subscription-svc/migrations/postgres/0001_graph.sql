-- Graphs and their subgraphs.
CREATE TABLE graph (
    graph_id          TEXT PRIMARY KEY,
    org_id            TEXT NOT NULL,
    tier              TEXT NOT NULL,
    state             TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'deprovisioned', 'deleted')),
    shared_repository BOOLEAN NOT NULL,
    display_name      TEXT NOT NULL,
    endpoint          JSONB,
    created           TIMESTAMPTZ NOT NULL,
    updated           TIMESTAMPTZ NOT NULL,
    deprovisioned     TIMESTAMPTZ
);

CREATE TABLE subgraph (
    subgraph_id TEXT PRIMARY KEY,
    graph_id    TEXT NOT NULL REFERENCES graph (graph_id),
    name        TEXT NOT NULL,
    created     TIMESTAMPTZ NOT NULL,
    deleted     TIMESTAMPTZ
);

CREATE INDEX subgraph_alive ON subgraph (graph_id, subgraph_id) WHERE deleted IS NULL;
