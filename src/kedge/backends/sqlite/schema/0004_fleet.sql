-- Processes that hold a lease, by what each said last. Not part of the journal.
CREATE TABLE members (
    uid           TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    host          TEXT NOT NULL,
    pid           INTEGER NOT NULL,
    serves        TEXT NOT NULL,
    lease_seconds REAL NOT NULL,
    epoch         INTEGER NOT NULL, -- acknowledged
    joined_at     REAL NOT NULL,
    at            REAL NOT NULL,
    expired       INTEGER NOT NULL, -- holds no lease for certain
    held          BLOB NOT NULL
) WITHOUT ROWID;
