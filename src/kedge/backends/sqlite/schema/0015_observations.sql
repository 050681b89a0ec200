-- When an observation arrived (null: when it was made), and the key by which it is stored once.
ALTER TABLE observations ADD COLUMN recorded_at REAL;

ALTER TABLE observations ADD COLUMN idempotency TEXT;

CREATE UNIQUE INDEX observations_once ON observations (idempotency) WHERE idempotency IS NOT NULL;

CREATE INDEX observations_by_session ON observations (session, metric) WHERE session IS NOT NULL;

CREATE INDEX sessions_by_seq ON sessions (seq);

-- The sessions that were drawn by a unit of their own, by it.
CREATE INDEX sessions_by_unit ON sessions (json_extract(settings, '$.unit_id'), seq) WHERE settings IS NOT NULL;
