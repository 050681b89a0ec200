-- name: load
SELECT record FROM control;

-- name: create
INSERT OR IGNORE INTO control (id, epoch, record) VALUES (1, 0, ?);

-- name: replace
UPDATE control SET epoch = ?1, record = ?2 WHERE id = 1 AND epoch = ?1 - 1;

-- name: log_insert
INSERT INTO control_log (seq, epoch, at, operation, kind, deployment, by, reason, detail, record)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: unfinished
SELECT operation, kind, seq, wanted FROM unfinished ORDER BY seq;

-- name: unfinished_put
INSERT INTO unfinished (operation, kind, seq, wanted) VALUES (?, ?, ?, ?)
ON CONFLICT (operation) DO UPDATE SET wanted = excluded.wanted;

-- name: unfinished_delete
DELETE FROM unfinished WHERE operation = ?;

-- name: unfinished_clear
DELETE FROM unfinished;

-- name: log_of_unfinished
SELECT l.seq, l.epoch, l.at, l.operation, l.kind, l.deployment, l.by, l.reason, l.detail, FALSE, u.wanted
FROM unfinished u CROSS JOIN control_log l ON l.seq = u.seq ORDER BY l.seq;

-- name: log_of_operation
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, record IS NULL
FROM control_log WHERE operation = ? ORDER BY seq DESC;

-- name: log
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, record IS NULL
FROM control_log WHERE kind <> 'session' AND kind <> 'launch:look' ORDER BY seq DESC LIMIT ?;

-- name: log_newest_change
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, FALSE
FROM control_log WHERE record IS NOT NULL AND kind <> 'create' ORDER BY seq DESC LIMIT 1;

-- name: log_newest_of_kind
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, FALSE
FROM control_log WHERE record IS NOT NULL AND kind = ? ORDER BY seq DESC LIMIT 1;

-- name: log_of_deployments
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, FALSE
FROM control_log
WHERE deployment IN (SELECT value FROM json_each(?1)) AND record IS NOT NULL
  AND (?2 IS NULL OR kind IN (SELECT value FROM json_each(?2)))
ORDER BY seq DESC;

-- name: log_of_steps
SELECT seq, epoch, at, operation, kind, deployment, by, reason, detail, TRUE
FROM control_log
WHERE kind <> 'session' AND record IS NULL AND seq > ?2 AND kind IN (SELECT value FROM json_each(?1))
ORDER BY seq DESC LIMIT ?3;

-- name: changes_to
SELECT record FROM control_log WHERE record IS NOT NULL AND seq <= ? ORDER BY seq DESC;

-- name: newest_change
SELECT epoch, record FROM control_log WHERE record IS NOT NULL ORDER BY seq DESC LIMIT 1;

-- name: rewrite
UPDATE control SET record = ?;

-- name: deployment_insert
INSERT INTO deployments (number, name, kind, digest, manifest, warnings, note, at, by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: deployments
SELECT number, name, kind, digest, manifest, warnings, note, at, by FROM deployments ORDER BY number;

-- name: deployments_of
SELECT number, name, kind, digest, manifest, warnings, note, at, by FROM deployments
WHERE number IN (SELECT value FROM json_each(?)) ORDER BY number;

-- name: names
SELECT number, name FROM deployments;

-- name: names_of
SELECT number, name FROM deployments WHERE number IN (SELECT value FROM json_each(?));

-- name: deployment_number
SELECT number FROM deployments WHERE name = ?;

-- name: incarnations
SELECT name, number FROM deployments WHERE name = ?1 OR (name >= ?1 || '#' AND name < ?1 || '$');

-- name: peers
SELECT number, name FROM deployments WHERE kind = 'external' ORDER BY number;

-- name: count_peers
SELECT count(*) FROM deployments WHERE kind = 'external' AND instr(name, '#') = 0 AND name <> 'external:unknown';

-- name: version_digest
SELECT digest FROM artifact_versions WHERE name = ? AND version = ?;

-- name: version_insert
INSERT OR IGNORE INTO artifact_versions (name, version, digest) VALUES (?, ?, ?);

-- name: snapshot_insert
INSERT INTO snapshots (name, seq, epoch, at, by, deployment) VALUES (?, ?, ?, ?, ?, ?);

-- name: snapshot
SELECT name, seq, epoch, at, by, deployment FROM snapshots WHERE name = ?;

-- name: snapshots
SELECT name, seq, epoch, at, by, deployment FROM snapshots ORDER BY seq, name;

-- name: snapshot_delete
DELETE FROM snapshots WHERE name = ?;

-- name: snapshots_delete_of
DELETE FROM snapshots WHERE deployment = ?;

-- name: meta
SELECT value FROM meta WHERE name = ?;

-- name: time_of
SELECT max(
    coalesce((SELECT at FROM writes WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1), 0),
    coalesce((SELECT at FROM control_log WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1), 0)
);

-- name: session
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM sessions
WHERE session = ? AND seq <= ? ORDER BY generation DESC LIMIT 1;

-- name: sessions
SELECT s.session, s.generation, s.seq, s.epoch, s.at, s.base, s.opened_with, s.settings, s.ended FROM sessions s
WHERE s.session >= ?1 AND (?2 IS NULL OR s.session < ?2) AND (?3 IS NULL OR s.session > ?3)
  AND s.generation = (SELECT max(o.generation) FROM sessions o WHERE o.session = s.session)
  AND (?4 IS NULL OR s.ended = 0 AND EXISTS (SELECT 1 FROM json_each(s.base) b WHERE b.value = ?4) = ?5)
ORDER BY s.session LIMIT ?6;

-- name: sessions_named
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM sessions s
WHERE session IN (SELECT value FROM json_each(?))
  AND generation = (SELECT max(generation) FROM sessions WHERE session = s.session);

-- name: standing
SELECT c.epoch, s.session, s.generation, s.seq, s.epoch, s.at, s.base, s.opened_with, s.settings, s.ended
FROM control c LEFT JOIN sessions s
ON s.session = :session AND s.generation = (SELECT max(generation) FROM sessions WHERE session = :session);

-- name: session_insert
INSERT INTO sessions (session, generation, seq, epoch, at, base, opened_with, by, settings, ended)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: space_in_use
-- Whether a session, or a space of a keyed store that is named as it would be, has writes.
SELECT 1 FROM spaces s WHERE s.space = ? AND s.store NOT IN ('artifacts', 'documents', 'vectors', 'context')
AND EXISTS (SELECT 1 FROM writes w WHERE w.space = s.id) LIMIT 1;

-- name: session_count
SELECT count(DISTINCT session) FROM sessions;

-- name: observe
INSERT INTO observations (at, session, agent, metric, value, lineage, recorded_at, idempotency, seen)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (idempotency) WHERE idempotency IS NOT NULL DO NOTHING;

-- name: observed_with
SELECT session, metric, value FROM observations WHERE idempotency = ?;

-- name: observed_in
-- A long name of a session may stand as itself or as its alias.
SELECT o.id, o.metric, o.at, o.session, o.agent, o.value, o.seen, o.recorded_at
FROM (
    SELECT value AS session FROM json_each(?1)
    UNION SELECT ?3 || n.id FROM session_names n WHERE n.session IN (SELECT value FROM json_each(?1))
) s CROSS JOIN observations o ON o.session = s.session
WHERE o.metric IN (SELECT value FROM json_each(?2)) ORDER BY o.id;

-- name: observed_since
SELECT id, metric, at, session, agent, value, seen, recorded_at FROM observations
WHERE metric IN (SELECT value FROM json_each(?1)) AND at >= ?4 AND id > ?3 AND value = ?2 ORDER BY id LIMIT ?5;

-- name: newest_observation
SELECT coalesce(max(id), 0) FROM observations;

-- name: sample_counts
SELECT metric, count(*), max(at) FROM observations WHERE metric IN (SELECT value FROM json_each(?)) GROUP BY metric;

-- name: count_since
SELECT count(*) FROM (SELECT at FROM observations WHERE metric = ?1 ORDER BY at DESC LIMIT ?3) WHERE at >= ?2;

-- name: observations
SELECT at, session, agent, value, seen FROM observations WHERE metric = ? ORDER BY id;

-- name: tallies
SELECT metric, agent, value, count(*), max(at) FROM observations WHERE metric >= ?1 AND metric < ?1 || char(1114111)
GROUP BY metric, agent, value ORDER BY metric, agent, value;

-- name: cache_find
SELECT lineage, at, payload FROM cache WHERE key = ? AND (expires IS NULL OR expires > ?) ORDER BY at DESC;

-- name: cache_put
INSERT INTO cache (key, lineage, at, expires, bytes, payload) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key, lineage) DO UPDATE
SET at = excluded.at, expires = excluded.expires, bytes = excluded.bytes, payload = excluded.payload;

-- name: cache_expired
DELETE FROM cache WHERE (key, lineage) IN (
    SELECT key, lineage FROM cache INDEXED BY cache_by_expiry WHERE expires <= ? ORDER BY expires LIMIT 100);

-- name: cache_bytes
SELECT bytes FROM cache_size;

-- name: cache_oldest
SELECT key, lineage, bytes FROM cache ORDER BY at LIMIT 10;

-- name: cache_delete
DELETE FROM cache WHERE key = ? AND lineage = ?;
