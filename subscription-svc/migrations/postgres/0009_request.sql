-- Request ids that were used, so that a repeat is the same mutation.
CREATE TABLE request (
    user_id     TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    method      TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    resource    TEXT NOT NULL,
    PRIMARY KEY (user_id, request_id)
);
