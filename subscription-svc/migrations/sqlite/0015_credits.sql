-- The credits of the present month: its first and last instant, granted, used. A month that is empty is followed by the next as
-- soon as somebody looks, which the earlier due time sees to.
ALTER TABLE subscription ADD COLUMN credits TEXT NOT NULL DEFAULT '{"start":0,"end":0,"granted":0,"used":0}'
    CHECK (json_extract(credits, '$.used') BETWEEN 0 AND json_extract(credits, '$.granted'));

UPDATE subscription SET
    credits = json_object(
        'start', period_start_ms,
        'end', CASE billing_interval WHEN 'monthly' THEN period_end_ms ELSE period_start_ms END,
        'granted', CASE billing_interval WHEN 'monthly' THEN monthly_credits ELSE 0 END,
        'used', 0),
    due_ms = CASE WHEN live AND status = 'active' AND billing_interval = 'annual' AND active_change_id IS NULL
        THEN min(coalesce(due_ms, period_start_ms), period_start_ms) ELSE due_ms END;
