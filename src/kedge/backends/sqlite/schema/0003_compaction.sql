-- A segment that was packed `packing` times has lost `gone` rows, and lies in a file of its own name for each time. Its
-- rows keep their numbers. Of what was superseded up to `reclaimed`, no seq before that can be read any more.
ALTER TABLE segments ADD COLUMN packing INTEGER NOT NULL DEFAULT 0;

ALTER TABLE segments ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;

ALTER TABLE segments ADD COLUMN reclaimed INTEGER NOT NULL DEFAULT 0;

-- Of the rows numbered below `below`, those that are in the file: deflated gaps between their numbers. `cleared` says
-- whether nothing is left of the others, neither rows, nor log entries, nor files.
CREATE TABLE packings (
    segment INTEGER PRIMARY KEY,
    below   INTEGER NOT NULL,
    kept    BLOB NOT NULL,
    cleared INTEGER NOT NULL
);
