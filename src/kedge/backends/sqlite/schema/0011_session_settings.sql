-- What a session remembers beside its view, as JSON (null: nothing), and whether it has ended.
ALTER TABLE sessions ADD COLUMN settings TEXT;

ALTER TABLE sessions ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
