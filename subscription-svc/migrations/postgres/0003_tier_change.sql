-- Tier changes. One active row per subscription, held here and not in memory.
-- The columns are what is searched for; the rest of the change is one JSON object, written and read whole.
CREATE TABLE tier_change (
    change_id       TEXT PRIMARY KEY,
    org_id          TEXT NOT NULL,
    graph_id        TEXT NOT NULL REFERENCES graph (graph_id),
    subscription_id TEXT NOT NULL REFERENCES subscription (subscription_id),
    state           TEXT NOT NULL,
    active          BOOLEAN NOT NULL,
    follows         BOOLEAN NOT NULL,
    deadline        TIMESTAMPTZ,
    first_feed      BIGINT,
    store_epoch     BIGINT NOT NULL,
    updated         TIMESTAMPTZ NOT NULL,
    body            JSONB NOT NULL
);

CREATE UNIQUE INDEX tier_change_active ON tier_change (subscription_id) WHERE active;
CREATE INDEX tier_change_of_graph ON tier_change (graph_id, active, change_id);
CREATE INDEX tier_change_of_org ON tier_change (org_id, change_id);
CREATE INDEX tier_change_in_state ON tier_change (state, change_id);
CREATE INDEX tier_change_open ON tier_change (change_id) WHERE active OR follows;
CREATE INDEX tier_change_deadline ON tier_change (deadline) WHERE deadline IS NOT NULL;
