-- Requests to the payment provider: key and bytes are stored before the first send and never change (H21, H23).
CREATE TABLE payment_request (
    change_id TEXT NOT NULL REFERENCES tier_change (change_id),
    kind      TEXT NOT NULL CHECK (kind IN ('forward', 'back/price', 'back/money')),
    bytes     TEXT NOT NULL,
    stored_ms INTEGER NOT NULL,
    outcome   TEXT NOT NULL CHECK (outcome IN ('unknown', 'poisoned', 'taken', 'refused')),
    reference TEXT NOT NULL,
    PRIMARY KEY (change_id, kind)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER payment_request_bytes BEFORE UPDATE ON payment_request
WHEN NEW.bytes <> OLD.bytes
BEGIN
    SELECT RAISE(ABORT, 'one set of bytes per payment key');
END;
