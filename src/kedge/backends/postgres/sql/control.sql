-- name: load
SELECT record, (SELECT value FROM kedge.meta WHERE name = 'moved') FROM kedge.control;

-- name: arriving
SELECT value FROM kedge.meta WHERE name = 'arriving';

-- name: create
INSERT INTO kedge.control (id, epoch, record) VALUES (1, 0, $1) ON CONFLICT DO NOTHING RETURNING id;

-- name: replace
UPDATE kedge.control SET epoch = $1, record = $2 WHERE id = 1 AND epoch = $1 - 1 RETURNING epoch;

-- name: notify
SELECT pg_notify('kedge_control', $1);

-- name: log_insert
INSERT INTO kedge.control_log (seq, epoch, at, operation, kind, deployment, by, reason, detail, record)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: unfinished
SELECT operation, kind, seq, wanted FROM kedge.unfinished ORDER BY seq;

-- name: unfinished_put
INSERT INTO kedge.unfinished (operation, kind, seq, wanted) VALUES ($1, $2, $3, $4)
ON CONFLICT (operation) DO UPDATE SET wanted = excluded.wanted;

-- name: unfinished_delete
DELETE FROM kedge.unfinished WHERE operation = $1;

-- name: unfinished_clear
DELETE FROM kedge.unfinished;

-- name: min_writer
SELECT value FROM kedge.meta WHERE name = 'min_writer';

-- name: log_of_unfinished
SELECT l.seq, l.epoch, l.at, l.operation, l.kind, l.deployment, l.by, l.reason, l.detail, FALSE, u.wanted
FROM kedge.unfinished u JOIN kedge.control_log l ON l.seq = u.seq ORDER BY l.seq;

-- name: log_of_operation
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, record IS NULL
FROM kedge.control_log WHERE operation = $1 ORDER BY seq DESC;

-- name: log
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, record IS NULL
FROM kedge.control_log WHERE kind <> 'session' AND kind <> 'launch:look' ORDER BY seq DESC LIMIT $1;

-- name: log_newest_change
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, FALSE
FROM kedge.control_log WHERE record IS NOT NULL AND kind <> 'create' ORDER BY seq DESC LIMIT 1;

-- name: log_newest_of_kind
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, FALSE
FROM kedge.control_log WHERE record IS NOT NULL AND kind = $1 ORDER BY seq DESC LIMIT 1;

-- name: log_of_deployments
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, FALSE
FROM kedge.control_log
WHERE deployment = ANY ($1::text[]) AND record IS NOT NULL AND ($2::text[] IS NULL OR kind = ANY ($2::text[]))
ORDER BY seq DESC;

-- name: log_of_steps
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, TRUE
FROM kedge.control_log
WHERE kind <> 'session' AND record IS NULL AND seq > $2 AND kind = ANY ($1::text[])
ORDER BY seq DESC LIMIT $3;

-- name: changes_to
SELECT record FROM kedge.control_log WHERE record IS NOT NULL AND seq <= $1 ORDER BY seq DESC LIMIT $2;

-- name: seq_of_epoch
SELECT seq FROM kedge.control_log WHERE record IS NOT NULL AND epoch = $1 ORDER BY seq DESC LIMIT 1;

-- name: newest_change
SELECT epoch, record FROM kedge.control_log WHERE record IS NOT NULL ORDER BY seq DESC LIMIT 1;

-- name: rewrite
UPDATE kedge.control SET record = $1;

-- name: deployment_insert
INSERT INTO kedge.deployments (number, name, kind, digest, manifest, warnings, note, at, by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: deployments
SELECT number, name, kind, digest, manifest, warnings, note, at, by FROM kedge.deployments ORDER BY number;

-- name: deployments_of
SELECT number, name, kind, digest, manifest, warnings, note, at, by FROM kedge.deployments
WHERE number = ANY ($1::int8[]) ORDER BY number;

-- name: names
SELECT number, name FROM kedge.deployments;

-- name: names_of
SELECT number, name FROM kedge.deployments WHERE number = ANY ($1::int8[]);

-- name: deployment_number
SELECT number FROM kedge.deployments WHERE name = $1;

-- name: incarnations
SELECT name, number FROM kedge.deployments WHERE name = $1 OR (name >= $1 || '#' AND name < $1 || '$');

-- name: peers
SELECT number, name FROM kedge.deployments WHERE kind = 'external' ORDER BY number;

-- name: count_peers
SELECT count(*) FROM kedge.deployments
WHERE kind = 'external' AND strpos(name, '#') = 0 AND name <> 'external:unknown';

-- name: version_digest
SELECT digest FROM kedge.artifact_versions WHERE name = $1 AND version = $2;

-- name: version_insert
INSERT INTO kedge.artifact_versions (name, version, digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: snapshot_insert
INSERT INTO kedge.snapshots (name, seq, epoch, at, by, deployment) VALUES ($1, $2, $3, $4, $5, $6);

-- name: snapshot
SELECT name, seq, epoch, at, by, deployment FROM kedge.snapshots WHERE name = $1;

-- name: snapshots
SELECT name, seq, epoch, at, by, deployment FROM kedge.snapshots ORDER BY seq, name;

-- name: snapshot_delete
DELETE FROM kedge.snapshots WHERE name = $1 RETURNING name;

-- name: snapshots_delete_of
DELETE FROM kedge.snapshots WHERE deployment = $1;

-- name: meta
SELECT value FROM kedge.meta WHERE name = $1;

-- name: time_of
SELECT greatest(
    coalesce((SELECT at FROM kedge.writes WHERE seq <= $1 ORDER BY seq DESC LIMIT 1), 0),
    coalesce((SELECT at FROM kedge.control_log WHERE seq <= $1 ORDER BY seq DESC LIMIT 1), 0)
);

-- name: session
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM kedge.sessions
WHERE session = $1 AND seq <= $2 ORDER BY generation DESC LIMIT 1;

-- name: sessions
SELECT s.session, s.generation, s.seq, s.epoch, s.at, s.base, s.opened_with, s.settings, s.ended FROM kedge.sessions s
WHERE s.session >= $1 AND ($2::text IS NULL OR s.session < $2) AND ($3::text IS NULL OR s.session > $3)
  AND s.generation = (SELECT max(o.generation) FROM kedge.sessions o WHERE o.session = s.session)
  AND ($4::int8 IS NULL OR NOT s.ended AND ($4::int8 = ANY (s.base)) = $5::bool)
ORDER BY s.session LIMIT $6::int8;

-- name: sessions_named
SELECT DISTINCT ON (session) session, generation, seq, epoch, at, base, opened_with, settings, ended FROM kedge.sessions
WHERE session = ANY($1::text[]) ORDER BY session, generation DESC;

-- name: standing
SELECT c.epoch, s.* FROM kedge.control c LEFT JOIN LATERAL (
    SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM kedge.sessions
    WHERE session = $1 ORDER BY generation DESC LIMIT 1
) s ON TRUE;

-- name: session_insert
INSERT INTO kedge.sessions (session, generation, seq, epoch, at, base, opened_with, by, settings, ended)
VALUES ($1, $2, $3, $4, $5, $6::int8[], $7, $8, $9, $10);

-- name: space_in_use
-- Whether a session, or a space of a keyed store that is named as it would be, has writes.
SELECT 1 FROM kedge.spaces s WHERE s.space = $1 AND s.store NOT IN ('artifacts', 'documents', 'vectors', 'context')
AND EXISTS (SELECT 1 FROM kedge.writes w WHERE w.space = s.id) LIMIT 1;

-- name: session_count
SELECT count(DISTINCT session) FROM kedge.sessions;

-- name: observe
INSERT INTO kedge.observations (at, session, agent, metric, value, lineage, recorded_at, idempotency, seen)
VALUES ($1, $2, $3, $4, $5, $6, $7::float8, $8, $9::int8[])
ON CONFLICT (idempotency) WHERE idempotency IS NOT NULL DO NOTHING RETURNING TRUE;

-- name: observe_many
-- The lists of what was seen have several lengths, so they come as texts.
INSERT INTO kedge.observations (at, session, agent, metric, value, lineage, recorded_at, idempotency, seen)
SELECT at, session, agent, metric, value, lineage, recorded_at, idempotency, seen::int8[]
FROM unnest(
    $1::float8[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int8[], $7::float8[], $8::text[], $9::text[]
) AS n (at, session, agent, metric, value, lineage, recorded_at, idempotency, seen)
ON CONFLICT (idempotency) WHERE idempotency IS NOT NULL DO NOTHING RETURNING idempotency;

-- name: observed_with
SELECT idempotency, session, metric, value FROM kedge.observations WHERE idempotency = ANY ($1::text[]);

-- name: observed_in
-- A long name of a session may stand as itself or as its alias.
SELECT o.id, o.metric, o.at, o.session, o.agent, o.value, o.seen, o.recorded_at
FROM kedge.observations o
WHERE o.session = ANY (ARRAY(
    SELECT unnest($1::text[]) UNION SELECT $3 || n.id FROM kedge.session_names n WHERE n.session = ANY ($1::text[])
)) AND o.metric = ANY ($2::text[]) ORDER BY o.id;

-- name: observed_since
SELECT id, metric, at, session, agent, value, seen, recorded_at FROM kedge.observations
WHERE metric = ANY ($1::text[]) AND value = $2 AND id > $3 AND at >= $4::float8 ORDER BY id LIMIT $5;

-- name: newest_observation
SELECT coalesce(max(id), 0) FROM kedge.observations;

-- name: sample_counts
SELECT metric, count(*), max(at) FROM kedge.observations WHERE metric = ANY ($1::text[]) GROUP BY metric;

-- name: count_since
SELECT count(*) FROM (SELECT at FROM kedge.observations WHERE metric = $1 ORDER BY id DESC LIMIT $3) n WHERE at >= $2;

-- name: observations
SELECT at, session, agent, value, seen FROM kedge.observations WHERE metric = $1 ORDER BY id;

-- name: tallies
SELECT metric, agent, value, count(*), max(at) FROM kedge.observations WHERE metric >= $1 AND metric < $1 || chr(1114111)
GROUP BY metric, agent, value ORDER BY metric, agent NULLS FIRST, value;

-- name: cache_find
SELECT lineage, at, payload FROM kedge.cache WHERE key = $1 AND (expires IS NULL OR expires > $2) ORDER BY at DESC;

-- name: cache_put
INSERT INTO kedge.cache (key, lineage, at, expires, bytes, payload) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (key, lineage) DO UPDATE
SET at = excluded.at, expires = excluded.expires, bytes = excluded.bytes, payload = excluded.payload;

-- name: cache_expired
DELETE FROM kedge.cache WHERE (key, lineage) IN (
    SELECT key, lineage FROM kedge.cache WHERE expires <= $1 ORDER BY expires LIMIT 100);

-- name: cache_bytes
SELECT bytes FROM kedge.cache_size;

-- name: cache_oldest
SELECT key, lineage, bytes FROM kedge.cache ORDER BY at LIMIT 10;

-- name: cache_delete
DELETE FROM kedge.cache WHERE key = $1 AND lineage = $2;
