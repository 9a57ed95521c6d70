-- The public events of changes: gapless per change by the primary key and the trigger, ordered over all by `feed`,
-- which is taken from a locked row so that it grows in commit order (H39).
CREATE TABLE change_event (
    change_id TEXT NOT NULL REFERENCES tier_change (change_id),
    seq       BIGINT NOT NULL CHECK (seq >= 1),
    feed      BIGINT NOT NULL UNIQUE,
    org_id    TEXT NOT NULL,
    body      JSONB NOT NULL,
    PRIMARY KEY (change_id, seq)
);

CREATE FUNCTION change_event_gapless() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <> 1 AND NOT EXISTS (
        SELECT 1 FROM change_event WHERE change_id = NEW.change_id AND seq = NEW.seq - 1
    ) THEN
        RAISE EXCEPTION 'gapless event sequence per change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'change_event_gapless', TABLE = 'change_event';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER change_event_gapless BEFORE INSERT ON change_event
FOR EACH ROW EXECUTE FUNCTION change_event_gapless();

CREATE INDEX change_event_of_org ON change_event (org_id, feed);
CREATE INDEX change_event_of_change ON change_event (change_id, feed);

CREATE TABLE feed_counter (
    only_row INT PRIMARY KEY CHECK (only_row = 1),
    feed     BIGINT NOT NULL
);

INSERT INTO feed_counter (only_row, feed) VALUES (1, 0);
