-- Kedge schema 1. Statements end at a semicolon at the end of a line followed by a blank line.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

-- The one linearizable record (JSON), replaced by compare-and-set on its epoch.
CREATE TABLE control (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    epoch  INTEGER NOT NULL,
    record BLOB NOT NULL
);

-- Control changes and the steps of operations share the journal's order with the writes.
CREATE TABLE control_log (
    seq        INTEGER PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    at         REAL NOT NULL,
    operation  TEXT NOT NULL,
    kind       TEXT NOT NULL,
    deployment TEXT,
    by         TEXT NOT NULL,
    reason     TEXT NOT NULL,
    detail     BLOB NOT NULL,
    record     BLOB            -- the record that this change made; NULL for a step
);

CREATE INDEX control_log_by_epoch ON control_log (epoch);

CREATE INDEX control_log_records ON control_log (seq) WHERE record IS NOT NULL;

CREATE INDEX control_log_told ON control_log (seq) WHERE kind <> 'session';

CREATE INDEX control_log_by_operation ON control_log (operation);

CREATE TABLE deployments (
    number   INTEGER PRIMARY KEY,
    name     TEXT NOT NULL UNIQUE,
    kind     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    manifest BLOB NOT NULL,
    warnings BLOB NOT NULL,
    note     TEXT NOT NULL,
    at       REAL NOT NULL,
    by       TEXT NOT NULL
);

CREATE TABLE artifact_versions (
    name    TEXT NOT NULL,
    version TEXT NOT NULL,
    digest  TEXT NOT NULL,
    PRIMARY KEY (name, version)
) WITHOUT ROWID;

-- Frozen sets of deployment numbers, interned. Id 0 is the empty set.
CREATE TABLE lineages (
    id      INTEGER PRIMARY KEY,
    members TEXT NOT NULL UNIQUE
);

INSERT INTO lineages (id, members) VALUES (0, '[]');

CREATE TABLE lineage_members (
    number  INTEGER NOT NULL,
    lineage INTEGER NOT NULL,
    PRIMARY KEY (number, lineage)
) WITHOUT ROWID;

CREATE TABLE spaces (
    id    INTEGER PRIMARY KEY,
    store TEXT NOT NULL,
    space TEXT NOT NULL,
    UNIQUE (store, space)
);

CREATE TABLE turns (
    id          INTEGER PRIMARY KEY,
    uid         TEXT NOT NULL UNIQUE,
    agent       TEXT,
    person      TEXT,
    session     TEXT,
    parent      TEXT,
    replays     INTEGER,
    began_at    REAL NOT NULL,
    began_epoch INTEGER NOT NULL,
    lineage     INTEGER NOT NULL
);

CREATE INDEX turns_by_lineage ON turns (lineage, session, agent);

CREATE INDEX turns_by_replay ON turns (replays) WHERE replays IS NOT NULL;

-- The journal. A row never changes, save that a purge takes payload and salt away.
CREATE TABLE writes (
    seq        INTEGER PRIMARY KEY,
    space      INTEGER NOT NULL,
    name       TEXT NOT NULL,
    lineage    INTEGER NOT NULL,
    rank       INTEGER NOT NULL,
    deleted    INTEGER NOT NULL,
    source     INTEGER NOT NULL,
    provenance INTEGER NOT NULL,
    turn       INTEGER NOT NULL,
    at         REAL NOT NULL,
    fresh_for  REAL,
    digest     BLOB NOT NULL,
    salt       BLOB,
    payload    BLOB
);

CREATE INDEX writes_by_key ON writes (space, name, lineage, rank);

CREATE INDEX writes_by_turn ON writes (turn);

CREATE TRIGGER writes_are_immutable BEFORE UPDATE ON writes
WHEN NEW.seq IS NOT OLD.seq OR NEW.space IS NOT OLD.space OR NEW.name IS NOT OLD.name
  OR NEW.lineage IS NOT OLD.lineage OR NEW.rank IS NOT OLD.rank OR NEW.deleted IS NOT OLD.deleted
  OR NEW.source IS NOT OLD.source OR NEW.provenance IS NOT OLD.provenance OR NEW.turn IS NOT OLD.turn
  OR NEW.at IS NOT OLD.at OR NEW.fresh_for IS NOT OLD.fresh_for OR NEW.digest IS NOT OLD.digest
  OR NEW.salt IS NOT NULL OR NEW.payload IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a journal entry never changes');
END;

CREATE TRIGGER writes_are_kept BEFORE DELETE ON writes
BEGIN
    SELECT RAISE(ABORT, 'a journal entry is never deleted');
END;

CREATE TRIGGER control_log_is_immutable BEFORE UPDATE ON control_log
BEGIN
    SELECT RAISE(ABORT, 'a journal entry never changes');
END;

CREATE TRIGGER control_log_is_kept BEFORE DELETE ON control_log
BEGIN
    SELECT RAISE(ABORT, 'a journal entry is never deleted');
END;

-- Rebuildable: per key and lineage the newest write, those left out that a newer write hides in every view. A row's
-- state tells which of the others at its key supersede it.
CREATE TABLE heads (
    space   INTEGER NOT NULL,
    name    TEXT NOT NULL,
    lineage INTEGER NOT NULL,
    rank    INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    PRIMARY KEY (space, name, lineage)
) WITHOUT ROWID;

CREATE INDEX heads_by_state ON heads (space, state, deleted, name);

-- Rebuildable: how many writes of each lineage a space holds.
CREATE TABLE counters (
    space   INTEGER NOT NULL,
    lineage INTEGER NOT NULL,
    puts    INTEGER NOT NULL,
    deletes INTEGER NOT NULL,
    PRIMARY KEY (space, lineage)
) WITHOUT ROWID;

-- What a turn had read before it wrote `before_seq`, since its write before that.
CREATE TABLE reads (
    turn       INTEGER NOT NULL,
    before_seq INTEGER NOT NULL,
    reads      BLOB NOT NULL
);

CREATE INDEX reads_by_turn ON reads (turn, before_seq);

-- Headers that left a turn ("call") or came back to it ("absorb").
CREATE TABLE edges (
    id      INTEGER PRIMARY KEY,
    at      REAL NOT NULL,
    kind    TEXT NOT NULL,
    turn    TEXT NOT NULL,
    peer    TEXT NOT NULL,
    lineage INTEGER NOT NULL
);

CREATE INDEX edges_by_turn ON edges (turn);

CREATE TABLE idempotency (
    key     TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    lineage INTEGER NOT NULL,
    PRIMARY KEY (key, seq)
) WITHOUT ROWID;

-- What a session sees is fixed at its first turn, and anew at each refresh.
CREATE TABLE sessions (
    session     TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    at          REAL NOT NULL,
    base        TEXT NOT NULL,
    opened_with TEXT,
    by          TEXT NOT NULL,
    PRIMARY KEY (session, generation)
) WITHOUT ROWID;

CREATE TABLE snapshots (
    name       TEXT PRIMARY KEY,
    seq        INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    at         REAL NOT NULL,
    by         TEXT NOT NULL,
    deployment INTEGER           -- set where staging took it
) WITHOUT ROWID;

CREATE TABLE observations (
    id      INTEGER PRIMARY KEY,
    at      REAL NOT NULL,
    session TEXT,
    agent   TEXT,
    metric  TEXT NOT NULL,
    value   BLOB NOT NULL,
    lineage INTEGER NOT NULL,
    seen    TEXT NOT NULL
);

CREATE INDEX observations_by_metric ON observations (metric, at);

CREATE TABLE cache (
    key     BLOB NOT NULL,
    lineage INTEGER NOT NULL,
    at      REAL NOT NULL,
    expires REAL,
    bytes   INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (key, lineage)
) WITHOUT ROWID;

CREATE INDEX cache_by_age ON cache (at);

CREATE TABLE collections (
    name     TEXT PRIMARY KEY,
    dim      INTEGER NOT NULL,
    metric   TEXT NOT NULL,
    embedder TEXT NOT NULL,
    at       REAL NOT NULL
) WITHOUT ROWID;

-- One append-only file of float32 rows for each embedding space of a collection.
CREATE TABLE segments (
    id         INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    space      TEXT NOT NULL,
    dim        INTEGER NOT NULL,
    rows       INTEGER NOT NULL,
    UNIQUE (collection, space)
);

-- (lineage, minimal set of superseding lineages), interned: all that decides where a row is head.
CREATE TABLE states (
    id          INTEGER PRIMARY KEY,
    lineage     INTEGER NOT NULL,
    superseders TEXT NOT NULL,
    UNIQUE (lineage, superseders)
);

CREATE TABLE vector_rows (
    segment INTEGER NOT NULL,
    row     INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    space   INTEGER NOT NULL,
    name    TEXT NOT NULL,
    rank    INTEGER NOT NULL,
    state   INTEGER NOT NULL,
    PRIMARY KEY (segment, row)
) WITHOUT ROWID;

CREATE INDEX vector_rows_by_key ON vector_rows (space, name, rank, seq);

-- When a row was first superseded by each lineage; also how processes hear of changed states.
CREATE TABLE supersedes (
    seq     INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    row     INTEGER NOT NULL,
    lineage INTEGER NOT NULL,
    PRIMARY KEY (segment, seq, row, lineage)
) WITHOUT ROWID;

-- Source inputs that were replayed, for the sake of the hidden turns up to `turn`.
CREATE TABLE replayed (
    seq  INTEGER PRIMARY KEY,
    turn INTEGER NOT NULL,
    uid  TEXT NOT NULL
);
