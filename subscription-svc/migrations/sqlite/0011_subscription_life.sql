-- Where periods are counted from, what the provider is still to be told, and when something is to be done next.
ALTER TABLE subscription ADD COLUMN anchor_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscription ADD COLUMN told TEXT NOT NULL DEFAULT '[]';
ALTER TABLE subscription ADD COLUMN due_ms INTEGER;

UPDATE subscription SET anchor_ms = period_start_ms, due_ms = CASE
    WHEN NOT live OR active_change_id IS NOT NULL THEN NULL
    WHEN status = 'active' AND provider <> 'stripe' THEN period_end_ms
    WHEN status = 'canceled' THEN ends_at_ms
END;

CREATE INDEX subscription_due ON subscription (due_ms, subscription_id) WHERE due_ms IS NOT NULL;
CREATE UNIQUE INDEX subscription_of_provider ON subscription (provider, provider_subscription_id)
    WHERE provider_subscription_id <> '';
