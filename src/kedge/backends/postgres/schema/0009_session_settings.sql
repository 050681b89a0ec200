-- What a session remembers beside its view, as JSON (null: nothing), and whether it has ended.
ALTER TABLE kedge.sessions ADD COLUMN settings TEXT COLLATE "C";

ALTER TABLE kedge.sessions ADD COLUMN ended BOOLEAN NOT NULL DEFAULT FALSE;
