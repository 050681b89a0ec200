-- name: calls_delete
DELETE FROM kedge.idempotency WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM kedge.idempotency
    WHERE seqs[1] < $1 AND (key, seqs[1]) > ($2, $3) ORDER BY key, seqs[1] LIMIT $4
)) RETURNING key, seqs[1];

-- name: samples_delete
DELETE FROM kedge.observations WHERE id IN (
    SELECT id FROM kedge.observations WHERE at < $1 ORDER BY id LIMIT $2
) RETURNING id;

-- name: pruned
SELECT value FROM kedge.meta WHERE name = 'pruned';

-- name: set_pruned
INSERT INTO kedge.meta (name, value) VALUES ('pruned', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: epoch
-- No change of the control record commits before this transaction does.
SELECT epoch FROM kedge.control FOR SHARE;

-- name: last_turn
SELECT coalesce(max(id), 0) FROM kedge.turns;

-- name: callers
-- UNION keeps each uid once: the walk is linear in turns, also where calls share callers.
WITH RECURSIVE up (uid) AS (
    SELECT parent FROM kedge.turns WHERE lineage = ANY($1::int8[]) AND parent IS NOT NULL
    UNION
    SELECT t.parent FROM up JOIN kedge.turns t ON t.uid = up.uid WHERE t.parent IS NOT NULL
)
SELECT t.id FROM up JOIN kedge.turns t ON t.uid = up.uid WHERE t.lineage <> ALL($1::int8[]);

-- name: prunable
-- The turns of a part ($1 to $2) that nothing needs ($5 lineages, $6 callers, $7 held spaces, $8 sets seen), those of which there is
-- something to delete from before the horizon ($3 its seq, $4 its time).
SELECT t.id, t.uid FROM kedge.turns t
WHERE t.id BETWEEN $1::int8 AND $2::int8 AND t.began_at < $4::float8
  AND t.lineage <> ALL($5::int8[]) AND t.id <> ALL($6::int8[])
  AND NOT EXISTS (SELECT 1 FROM kedge.turns p WHERE p.uid = t.parent AND p.lineage = ANY($5::int8[]))
  AND NOT EXISTS (
      SELECT 1 FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space WHERE w.turn = t.id
      AND (w.space = ANY($7::int8[]) OR (w.salt IS NOT NULL AND NOT w.deleted AND s.store = 'vectors')))
  AND NOT EXISTS (SELECT 1 FROM kedge.edges e WHERE e.turn = t.uid AND e.kind = 'refused')  -- its inputs are to be answered
  AND (EXISTS (SELECT 1 FROM kedge.reads r WHERE r.turn = t.id AND r.before_seq <= $3::int8)
       OR EXISTS (SELECT 1 FROM kedge.edges e WHERE e.turn = t.uid AND e.at < $4::float8)
       OR (coalesce(t.seen, -1) <> ALL($8::int8[]) AND NOT EXISTS (
           SELECT 1 FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space WHERE w.turn = t.id
           AND (w.seq > $3::int8 OR (w.salt IS NOT NULL AND NOT (w.deleted AND s.store <> 'memory'))))));

-- name: reads_delete
DELETE FROM kedge.reads WHERE turn = ANY($1::int8[]) AND before_seq <= $2 RETURNING 1;

-- name: edges_delete
DELETE FROM kedge.edges WHERE turn = ANY($1::text[]) AND at < $2 RETURNING 1;

-- name: turns_delete
-- The newest turn stays: what looks for the newest ones finds one.
DELETE FROM kedge.turns t WHERE t.id = ANY($1::int8[]) AND t.id < (SELECT max(id) FROM kedge.turns)
AND coalesce(t.seen, -1) <> ALL($3::int8[])
AND NOT EXISTS (SELECT 1 FROM kedge.reads r WHERE r.turn = t.id)
AND NOT EXISTS (SELECT 1 FROM kedge.edges e WHERE e.turn = t.uid)
AND NOT EXISTS (
    SELECT 1 FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space WHERE w.turn = t.id
    AND (w.seq > $2 OR (w.salt IS NOT NULL AND NOT (w.deleted AND s.store <> 'memory'))))
RETURNING 1;

-- name: fence_raise
-- Processes that know the id of a deleted turn notice it before they write.
SELECT nextval('kedge.fences');

-- name: idle_sessions
SELECT s.session, s.base FROM kedge.sessions s
WHERE s.generation = (SELECT max(o.generation) FROM kedge.sessions o WHERE o.session = s.session) AND s.seq <= $1
  AND NOT EXISTS (
      SELECT 1 FROM kedge.sessions o WHERE o.session = s.session AND o.seq <= (SELECT max(seq) FROM kedge.snapshots))
  AND NOT EXISTS (  -- turns store the alias of a long name
      SELECT 1 FROM kedge.turns t WHERE t.began_at >= $2 AND t.session IN
          (s.session, (SELECT chr(16) || '#' || n.id FROM kedge.session_names n WHERE n.session = s.session)))
ORDER BY s.session;

-- name: still_idle
-- All lanes are locked: nothing is in flight. Turns take their ids before they commit, a few at a time.
SELECT s.session FROM kedge.sessions s WHERE s.session = ANY($1::text[])
  AND s.generation = (SELECT max(o.generation) FROM kedge.sessions o WHERE o.session = s.session)
  AND s.seq <= $2
  AND NOT EXISTS (
      SELECT 1 FROM kedge.sessions o WHERE o.session = s.session AND o.seq <= (SELECT max(seq) FROM kedge.snapshots))
  AND NOT EXISTS (
      SELECT 1 FROM kedge.turns t WHERE t.id > $3 AND t.began_at >= $4 AND t.session IN
          (s.session, (SELECT chr(16) || '#' || n.id FROM kedge.session_names n WHERE n.session = s.session)));

-- name: entries_delete
DELETE FROM kedge.control_log WHERE kind = 'session' AND seq IN (
    SELECT seq FROM kedge.sessions WHERE session = ANY($1::text[])) RETURNING 1;

-- name: sessions_delete
DELETE FROM kedge.sessions WHERE session = ANY($1::text[]);

-- name: last_seq
SELECT greatest(
    coalesce((SELECT max(seq) FROM kedge.writes), 0), coalesce((SELECT max(seq) FROM kedge.control_log), 0)
);
