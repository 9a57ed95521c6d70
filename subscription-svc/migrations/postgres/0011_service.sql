-- Which process serves this database: one at a time, by a lock of its session. It writes here to know that it can.
CREATE TABLE service (
    only_row INT PRIMARY KEY CHECK (only_row = 1),
    process  TEXT NOT NULL,
    beat     BIGINT NOT NULL
);

INSERT INTO service (only_row, process, beat) VALUES (1, '', 0);
