-- The public events of changes: gapless per change by the primary key and the trigger, ordered over all by `feed`,
-- which is taken from a locked row so that it grows in commit order (H39).
CREATE TABLE change_event (
    change_id TEXT NOT NULL REFERENCES tier_change (change_id),
    seq       INTEGER NOT NULL CHECK (seq >= 1),
    feed      INTEGER NOT NULL UNIQUE,
    org_id    TEXT NOT NULL,
    body      TEXT NOT NULL CHECK (json_valid(body)),
    PRIMARY KEY (change_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER change_event_gapless BEFORE INSERT ON change_event
WHEN NEW.seq <> 1 AND NOT EXISTS (
    SELECT 1 FROM change_event WHERE change_id = NEW.change_id AND seq = NEW.seq - 1
)
BEGIN
    SELECT RAISE(ABORT, 'gapless event sequence per change');
END;

CREATE INDEX change_event_of_org ON change_event (org_id, feed);
CREATE INDEX change_event_of_change ON change_event (change_id, feed);

CREATE TABLE feed_counter (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    feed     INTEGER NOT NULL
) STRICT;

INSERT INTO feed_counter (only_row, feed) VALUES (1, 0);
