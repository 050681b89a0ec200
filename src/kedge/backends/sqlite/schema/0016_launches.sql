-- Launches, and the lease of the pilot of each. `version` counts the looks; `done`: the last one whose actions are done.
CREATE TABLE launches (
    name       TEXT PRIMARY KEY,
    digest     TEXT NOT NULL,
    release    BLOB NOT NULL,
    state      BLOB NOT NULL,
    version    INTEGER NOT NULL,
    done       INTEGER NOT NULL,
    phase      TEXT NOT NULL,
    blocks     INTEGER NOT NULL,
    trouble    TEXT NOT NULL,
    begun_at   REAL NOT NULL,
    changed_at REAL NOT NULL,
    begun_by   TEXT NOT NULL,
    holder     TEXT,
    host       TEXT,
    until      REAL
) WITHOUT ROWID;

-- What people asked of a launch.
CREATE TABLE launch_requests (
    launch TEXT NOT NULL,
    number INTEGER NOT NULL,
    at     REAL NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (launch, number)
) WITHOUT ROWID;
