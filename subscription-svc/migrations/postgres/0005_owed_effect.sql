-- Effects that are owed to the outside: delivered one at a time and in order per change, at least once (H20).
CREATE TABLE owed_effect (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    change_id  TEXT NOT NULL REFERENCES tier_change (change_id),
    kind       TEXT NOT NULL,
    effect     JSONB NOT NULL,
    attempts   BIGINT NOT NULL CHECK (attempts >= 0),
    not_before TIMESTAMPTZ NOT NULL,
    UNIQUE (change_id, kind)
);

CREATE INDEX owed_effect_in_order ON owed_effect (change_id, id);
