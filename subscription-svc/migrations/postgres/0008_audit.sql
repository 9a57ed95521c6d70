-- What was done, by whom: written in the transaction that did it, never changed.
CREATE TABLE audit (
    audit_id        TEXT PRIMARY KEY,
    -- In the order of writing, where instants are equal.
    n               BIGINT GENERATED ALWAYS AS IDENTITY,
    org_id          TEXT NOT NULL,
    graph_id        TEXT,
    subscription_id TEXT,
    change_id       TEXT,
    kind            TEXT NOT NULL,
    actor           TEXT NOT NULL,
    at              TIMESTAMPTZ NOT NULL,
    message         TEXT NOT NULL,
    detail          JSONB NOT NULL
);

CREATE INDEX audit_of_org ON audit (org_id, audit_id);
CREATE INDEX audit_of_change ON audit (change_id, at, n) WHERE change_id IS NOT NULL;

CREATE FUNCTION audit_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is never changed'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_is_final', TABLE = 'audit';
END
$$;

CREATE TRIGGER audit_is_final BEFORE UPDATE OR DELETE ON audit
FOR EACH ROW EXECUTE FUNCTION audit_is_final();
