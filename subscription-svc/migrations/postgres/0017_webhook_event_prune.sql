-- What was made of events is forgotten after a while, the oldest first.
CREATE INDEX webhook_event_done ON webhook_event (received) WHERE state IN ('applied', 'ignored');
