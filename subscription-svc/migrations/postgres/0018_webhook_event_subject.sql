-- All events of one subscription that wait are answered at once.
CREATE INDEX webhook_event_subject ON webhook_event (subject, n) WHERE state = 'pending';
