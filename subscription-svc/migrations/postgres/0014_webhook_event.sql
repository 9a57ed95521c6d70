-- What the payment provider sent: stored before it is answered, each once by the provider's own id, in the order of arrival.
CREATE TABLE webhook_event (
    event_id   TEXT PRIMARY KEY,
    n          BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    provider   TEXT NOT NULL,
    kind       TEXT NOT NULL,
    -- The provider's name of the subscription that it is about, and ours, as far as it says.
    subject    TEXT NOT NULL,
    ours       TEXT NOT NULL,
    created    TIMESTAMPTZ NOT NULL,
    received   TIMESTAMPTZ NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'applied', 'ignored', 'dead')),
    attempts   BIGINT NOT NULL CHECK (attempts >= 0),
    not_before TIMESTAMPTZ NOT NULL,
    note       TEXT NOT NULL,
    body       TEXT NOT NULL
);

CREATE INDEX webhook_event_pending ON webhook_event (not_before, n) WHERE state = 'pending';
CREATE INDEX webhook_event_dead ON webhook_event (n) WHERE state = 'dead';
