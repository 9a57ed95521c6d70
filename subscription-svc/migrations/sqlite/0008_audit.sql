-- What was done, by whom: written in the transaction that did it, never changed.
CREATE TABLE audit (
    audit_id        TEXT PRIMARY KEY,
    org_id          TEXT NOT NULL,
    graph_id        TEXT,
    subscription_id TEXT,
    change_id       TEXT,
    kind            TEXT NOT NULL,
    actor           TEXT NOT NULL,
    at_ms           INTEGER NOT NULL,
    message         TEXT NOT NULL,
    detail          TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;

CREATE INDEX audit_of_org ON audit (org_id, audit_id);
CREATE INDEX audit_of_change ON audit (change_id, audit_id) WHERE change_id IS NOT NULL;

CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is never changed');
END;
