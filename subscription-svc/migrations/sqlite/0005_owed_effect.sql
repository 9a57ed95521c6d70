-- Effects that are owed to the outside: delivered one at a time and in order per change, at least once (H20).
CREATE TABLE owed_effect (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    change_id     TEXT NOT NULL REFERENCES tier_change (change_id),
    kind          TEXT NOT NULL,
    effect        TEXT NOT NULL CHECK (json_valid(effect)),
    attempts      INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL,
    UNIQUE (change_id, kind)
) STRICT;

CREATE INDEX owed_effect_in_order ON owed_effect (change_id, id);
