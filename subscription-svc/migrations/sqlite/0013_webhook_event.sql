-- What the payment provider sent: stored before it is answered, each once by the provider's own id, in the order of arrival.
CREATE TABLE webhook_event (
    n             INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id      TEXT NOT NULL UNIQUE,
    provider      TEXT NOT NULL,
    kind          TEXT NOT NULL,
    -- The provider's name of the subscription that it is about, and ours, as far as it says.
    subject       TEXT NOT NULL,
    ours          TEXT NOT NULL,
    created_ms    INTEGER NOT NULL,
    received_ms   INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'applied', 'ignored', 'dead')),
    attempts      INTEGER NOT NULL CHECK (attempts >= 0),
    not_before_ms INTEGER NOT NULL,
    note          TEXT NOT NULL,
    body          TEXT NOT NULL
) STRICT;

CREATE INDEX webhook_event_pending ON webhook_event (not_before_ms, n) WHERE state = 'pending';
CREATE INDEX webhook_event_dead ON webhook_event (n) WHERE state = 'dead';
