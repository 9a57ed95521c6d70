-- What is paid for each graph. One live row per graph, held here and not in memory.
CREATE TABLE subscription (
    subscription_id          TEXT PRIMARY KEY,
    org_id                   TEXT NOT NULL,
    graph_id                 TEXT NOT NULL REFERENCES graph (graph_id),
    tier                     TEXT NOT NULL,
    status                   TEXT NOT NULL CHECK (status IN ('pending', 'pending_payment', 'provisioning', 'active',
                                 'paused', 'past_due', 'unpaid', 'canceled', 'failed')),
    live                     INTEGER NOT NULL CHECK (live IN (0, 1)),
    price_cents              INTEGER NOT NULL CHECK (price_cents >= 0),
    currency                 TEXT NOT NULL,
    monthly_credits          INTEGER NOT NULL,
    billing_interval         TEXT NOT NULL CHECK (billing_interval IN ('monthly', 'annual')),
    period_start_ms          INTEGER NOT NULL,
    period_end_ms            INTEGER NOT NULL CHECK (period_end_ms > period_start_ms),
    ends_at_ms               INTEGER,
    canceled_ms              INTEGER,
    provider                 TEXT NOT NULL,
    provider_subscription_id TEXT NOT NULL,
    active_change_id         TEXT,
    created_ms               INTEGER NOT NULL,
    updated_ms               INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX subscription_live ON subscription (graph_id) WHERE live = 1;
CREATE INDEX subscription_of_graph ON subscription (graph_id, live, subscription_id);
CREATE INDEX subscription_of_org ON subscription (org_id, subscription_id);
