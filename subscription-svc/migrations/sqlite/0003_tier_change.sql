-- Tier changes. One active row per subscription, held here and not in memory (D-09).
-- The columns are what is searched for; the rest of the change is one JSON object, written and read whole.
CREATE TABLE tier_change (
    change_id       TEXT PRIMARY KEY,
    org_id          TEXT NOT NULL,
    graph_id        TEXT NOT NULL REFERENCES graph (graph_id),
    subscription_id TEXT NOT NULL REFERENCES subscription (subscription_id),
    state           TEXT NOT NULL,
    active          INTEGER NOT NULL CHECK (active IN (0, 1)),
    follows         INTEGER NOT NULL CHECK (follows IN (0, 1)),
    deadline_ms     INTEGER,
    first_feed      INTEGER,
    store_epoch     INTEGER NOT NULL,
    updated_ms      INTEGER NOT NULL,
    body            TEXT NOT NULL CHECK (json_valid(body))
) STRICT;

CREATE UNIQUE INDEX tier_change_active ON tier_change (subscription_id) WHERE active = 1;
CREATE INDEX tier_change_of_graph ON tier_change (graph_id, active, change_id);
CREATE INDEX tier_change_of_org ON tier_change (org_id, change_id);
CREATE INDEX tier_change_open ON tier_change (change_id) WHERE active = 1 OR follows = 1;
CREATE INDEX tier_change_deadline ON tier_change (deadline_ms) WHERE deadline_ms IS NOT NULL;
