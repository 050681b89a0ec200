-- When an observation arrived (null: when it was made), and the key by which it is stored once.
ALTER TABLE kedge.observations ADD COLUMN recorded_at DOUBLE PRECISION;

ALTER TABLE kedge.observations ADD COLUMN idempotency TEXT COLLATE "C";

CREATE UNIQUE INDEX observations_once ON kedge.observations (idempotency) WHERE idempotency IS NOT NULL;

CREATE INDEX observations_by_session ON kedge.observations (session, metric) WHERE session IS NOT NULL;

CREATE INDEX sessions_by_seq ON kedge.sessions (seq);

-- The sessions that were drawn by a unit of their own, by it.
CREATE INDEX sessions_by_unit ON kedge.sessions ((settings::jsonb ->> 'unit_id'), seq) WHERE settings IS NOT NULL;
