-- Long names of sessions, once: their turns store an alias (`model.session_names`).
CREATE TABLE session_names (
    id      INTEGER PRIMARY KEY,
    session TEXT NOT NULL UNIQUE
);

-- Turns from before writer version 4 that hold such a name; empty once the upgrade is finished.
CREATE INDEX turns_unaliased ON turns (session) WHERE length(session) > 64;
