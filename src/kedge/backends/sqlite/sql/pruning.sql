-- name: calls_before
SELECT key, seq FROM idempotency WHERE seq < ? AND (key, seq) > (?, ?) ORDER BY key, seq LIMIT ?;

-- name: call_delete
DELETE FROM idempotency WHERE key = ? AND seq = ?;

-- name: samples_delete
DELETE FROM observations WHERE id IN (SELECT id FROM observations WHERE at < ? ORDER BY id LIMIT ?);

-- name: pruned
SELECT value FROM meta WHERE name = 'pruned';

-- name: set_pruned
INSERT INTO meta (name, value) VALUES ('pruned', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: last_turn
SELECT coalesce(max(id), 0) FROM turns;

-- name: callers
-- UNION keeps each uid once: the walk is linear in turns, also where calls share callers.
WITH RECURSIVE up (uid) AS (
    SELECT parent FROM turns INDEXED BY turns_called
    WHERE lineage IN (SELECT value FROM json_each(?1)) AND parent IS NOT NULL
    UNION
    SELECT t.parent FROM up CROSS JOIN turns t ON t.uid = up.uid WHERE t.parent IS NOT NULL
)
SELECT t.id FROM up CROSS JOIN turns t ON t.uid = up.uid WHERE t.lineage NOT IN (SELECT value FROM json_each(?1));

-- name: prunable
-- The turns of a part that nothing needs, those of which there is something to delete.
SELECT t.id, t.uid FROM turns t
WHERE t.id BETWEEN :first AND :upto AND t.began_at < :at
  AND t.lineage NOT IN (SELECT value FROM json_each(:lineages)) AND t.id NOT IN (SELECT value FROM json_each(:callers))
  AND (t.parent IS NULL OR NOT EXISTS (
      SELECT 1 FROM turns p WHERE p.uid = t.parent AND p.lineage IN (SELECT value FROM json_each(:lineages))))
  AND NOT EXISTS (
      SELECT 1 FROM writes w INDEXED BY writes_by_turn WHERE w.turn = t.id AND (
          w.space IN (SELECT value FROM json_each(:held))
          OR w.salt IS NOT NULL AND NOT w.deleted AND w.space IN (SELECT id FROM spaces WHERE store = 'vectors')))
  AND NOT EXISTS (SELECT 1 FROM edges e WHERE e.turn = t.uid AND e.kind = 'refused')  -- its inputs are to be answered
  AND (EXISTS (SELECT 1 FROM reads r WHERE r.turn = t.id AND r.before_seq <= :seq)
       OR EXISTS (SELECT 1 FROM edges e WHERE e.turn = t.uid AND e.at < :at)
       OR coalesce(t.seen, -1) NOT IN (SELECT value FROM json_each(:seen)) AND NOT EXISTS (
           SELECT 1 FROM writes w INDEXED BY writes_by_turn WHERE w.turn = t.id AND (
               w.seq > :seq OR w.salt IS NOT NULL
               AND NOT (w.deleted AND w.space NOT IN (SELECT id FROM spaces WHERE store = 'memory')))));

-- name: reads_delete
DELETE FROM reads WHERE turn IN (SELECT value FROM json_each(?)) AND before_seq <= ?;

-- name: edges_delete
DELETE FROM edges WHERE turn IN (SELECT value FROM json_each(?)) AND at < ?;

-- name: turns_delete
-- The newest turn stays, so that its id is not given to another.
DELETE FROM turns WHERE id IN (SELECT value FROM json_each(?1)) AND id < (SELECT max(id) FROM turns)
AND coalesce(seen, -1) NOT IN (SELECT value FROM json_each(?3))
AND NOT EXISTS (SELECT 1 FROM reads r WHERE r.turn = turns.id)
AND NOT EXISTS (SELECT 1 FROM edges e WHERE e.turn = turns.uid)
AND NOT EXISTS (
    SELECT 1 FROM writes w INDEXED BY writes_by_turn WHERE w.turn = turns.id AND (
        w.seq > ?2 OR w.salt IS NOT NULL
        AND NOT (w.deleted AND w.space NOT IN (SELECT id FROM spaces WHERE store = 'memory'))));

-- name: idle_sessions
SELECT s.session, s.base FROM sessions s
WHERE s.generation = (SELECT max(o.generation) FROM sessions o WHERE o.session = s.session) AND s.seq <= ?1
  AND NOT EXISTS (SELECT 1 FROM sessions o WHERE o.session = s.session AND o.seq <= (SELECT max(seq) FROM snapshots))
  AND s.session NOT IN (SELECT session FROM turns WHERE began_at >= ?2 AND session IS NOT NULL)
  AND NOT EXISTS (
      SELECT 1 FROM session_names n WHERE n.session = s.session  -- the alias that turns store
      AND char(16) || '#' || n.id IN (SELECT session FROM turns WHERE began_at >= ?2 AND session IS NOT NULL))
ORDER BY s.session;

-- name: still_idle
SELECT s.session FROM json_each(:sessions) k CROSS JOIN sessions s ON s.session = k.value
WHERE s.generation = (SELECT max(o.generation) FROM sessions o WHERE o.session = s.session)
  AND s.seq <= :seq
  AND NOT EXISTS (SELECT 1 FROM sessions o WHERE o.session = s.session AND o.seq <= (SELECT max(seq) FROM snapshots))
  AND s.session NOT IN (SELECT session FROM turns WHERE id > :looked AND session IS NOT NULL)
  AND NOT EXISTS (
      SELECT 1 FROM session_names n WHERE n.session = s.session
      AND char(16) || '#' || n.id IN (SELECT session FROM turns WHERE id > :looked AND session IS NOT NULL));

-- name: entries_delete
DELETE FROM control_log WHERE kind = 'session' AND seq IN (
    SELECT seq FROM sessions WHERE session IN (SELECT value FROM json_each(?)));

-- name: sessions_delete
DELETE FROM sessions WHERE session IN (SELECT value FROM json_each(?));

-- name: last_seq
SELECT max(coalesce((SELECT max(seq) FROM writes), 0), coalesce((SELECT max(seq) FROM control_log), 0));
