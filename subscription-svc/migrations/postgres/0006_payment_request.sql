-- Requests to the payment provider: key and bytes are stored before the first send and never change (H21, H23).
CREATE TABLE payment_request (
    change_id TEXT NOT NULL REFERENCES tier_change (change_id),
    kind      TEXT NOT NULL CHECK (kind IN ('forward', 'back/price', 'back/money')),
    bytes     TEXT NOT NULL,
    stored    TIMESTAMPTZ NOT NULL,
    outcome   TEXT NOT NULL CHECK (outcome IN ('unknown', 'poisoned', 'taken', 'refused')),
    reference TEXT NOT NULL,
    PRIMARY KEY (change_id, kind)
);

CREATE FUNCTION payment_request_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.bytes <> OLD.bytes THEN
        RAISE EXCEPTION 'one set of bytes per payment key'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_request_bytes', TABLE = 'payment_request';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER payment_request_bytes BEFORE UPDATE ON payment_request
FOR EACH ROW EXECUTE FUNCTION payment_request_bytes();
