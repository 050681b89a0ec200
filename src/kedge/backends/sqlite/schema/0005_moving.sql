-- The seqs of a call's writes, as a JSON list, where they do not follow one another: they came from another backend.
ALTER TABLE idempotency ADD COLUMN seqs TEXT;
