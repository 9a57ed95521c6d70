-- The credits of the present month: its first and last instant, granted, used. A month that is empty is followed by the next as
-- soon as somebody looks, which the earlier due time sees to.
ALTER TABLE subscription ADD COLUMN credits JSONB;

UPDATE subscription SET
    credits = jsonb_build_object(
        'start', (EXTRACT(EPOCH FROM period_start) * 1000)::BIGINT,
        'end', (EXTRACT(EPOCH FROM CASE billing_interval WHEN 'monthly' THEN period_end ELSE period_start END) * 1000)::BIGINT,
        'granted', CASE billing_interval WHEN 'monthly' THEN monthly_credits ELSE 0 END,
        'used', 0),
    due = CASE WHEN live AND status = 'active' AND billing_interval = 'annual' AND active_change_id IS NULL
        THEN LEAST(due, period_start) ELSE due END;

ALTER TABLE subscription ALTER COLUMN credits SET NOT NULL;
ALTER TABLE subscription ADD CONSTRAINT subscription_credits
    CHECK ((credits->>'used')::BIGINT BETWEEN 0 AND (credits->>'granted')::BIGINT);
