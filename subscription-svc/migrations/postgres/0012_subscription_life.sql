-- Where periods are counted from, what the provider is still to be told, and when something is to be done next.
ALTER TABLE subscription ADD COLUMN anchor TIMESTAMPTZ;
ALTER TABLE subscription ADD COLUMN told JSONB NOT NULL DEFAULT '[]';
ALTER TABLE subscription ADD COLUMN due TIMESTAMPTZ;

UPDATE subscription SET anchor = period_start, due = CASE
    WHEN NOT live OR active_change_id IS NOT NULL THEN NULL
    WHEN status = 'active' AND provider <> 'stripe' THEN period_end
    WHEN status = 'canceled' THEN ends_at
END;

ALTER TABLE subscription ALTER COLUMN anchor SET NOT NULL;
ALTER TABLE subscription ALTER COLUMN told DROP DEFAULT;

CREATE INDEX subscription_due ON subscription (due, subscription_id) WHERE due IS NOT NULL;
CREATE UNIQUE INDEX subscription_of_provider ON subscription (provider, provider_subscription_id)
    WHERE provider_subscription_id <> '';
