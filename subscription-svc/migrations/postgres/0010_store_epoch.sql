-- Which life of the store this is: a restore begins a new one (H19).
CREATE TABLE store_epoch (
    only_row INT PRIMARY KEY CHECK (only_row = 1),
    epoch    BIGINT NOT NULL CHECK (epoch >= 1)
);

INSERT INTO store_epoch (only_row, epoch) VALUES (1, 1);
