-- What is paid for each graph. One live row per graph, held here and not in memory.
CREATE TABLE subscription (
    subscription_id          TEXT PRIMARY KEY,
    org_id                   TEXT NOT NULL,
    graph_id                 TEXT NOT NULL REFERENCES graph (graph_id),
    tier                     TEXT NOT NULL,
    status                   TEXT NOT NULL CHECK (status IN ('pending', 'pending_payment', 'provisioning', 'active',
                                 'paused', 'past_due', 'unpaid', 'canceled', 'failed')),
    live                     BOOLEAN NOT NULL,
    price_cents              BIGINT NOT NULL CHECK (price_cents >= 0),
    currency                 TEXT NOT NULL,
    monthly_credits          BIGINT NOT NULL,
    billing_interval         TEXT NOT NULL CHECK (billing_interval IN ('monthly', 'annual')),
    period_start             TIMESTAMPTZ NOT NULL,
    period_end               TIMESTAMPTZ NOT NULL CHECK (period_end > period_start),
    ends_at                  TIMESTAMPTZ,
    canceled                 TIMESTAMPTZ,
    provider                 TEXT NOT NULL,
    provider_subscription_id TEXT NOT NULL,
    active_change_id         TEXT,
    created                  TIMESTAMPTZ NOT NULL,
    updated                  TIMESTAMPTZ NOT NULL
);

CREATE UNIQUE INDEX subscription_live ON subscription (graph_id) WHERE live;
CREATE INDEX subscription_of_graph ON subscription (graph_id, live, subscription_id);
CREATE INDEX subscription_of_org ON subscription (org_id, subscription_id);
CREATE INDEX subscription_in_status ON subscription (status, subscription_id);
