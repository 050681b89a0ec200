-- name: epoch
SELECT epoch FROM control;

-- name: position
SELECT max(w.seq), w.at, (SELECT max(seq) FROM control_log), (SELECT at FROM control_log ORDER BY seq DESC LIMIT 1)
FROM writes w;

-- name: lineage_id
SELECT id FROM lineages WHERE members = ?;

-- name: lineage_insert
INSERT INTO lineages (members) VALUES (?) RETURNING id;

-- name: lineage_member_insert
INSERT INTO lineage_members (number, lineage) VALUES (?, ?);

-- name: lineage_members
SELECT members FROM lineages WHERE id = ?;

-- name: lineages_members
SELECT id, members FROM lineages WHERE id IN (SELECT value FROM json_each(?));

-- name: space_id
SELECT id FROM spaces WHERE store = ? AND space = ?;

-- name: space_insert
INSERT INTO spaces (store, space) VALUES (?, ?) RETURNING id;

-- name: seen_id
SELECT id FROM seen_sets WHERE members = ?;

-- name: seen_insert
INSERT INTO seen_sets (members) VALUES (?) RETURNING id;

-- name: turn_upsert
-- The lineage of a turn only grows: of threads that share it, the one that had read less may commit last.
INSERT INTO turns (uid, agent, person, session, parent, replays, began_at, began_epoch, lineage, seen)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (uid) DO UPDATE SET lineage = CASE WHEN excluded.lineage = turns.lineage OR EXISTS (
    SELECT 1 FROM json_each((SELECT members FROM lineages WHERE id = excluded.lineage)) n
    WHERE NOT EXISTS (SELECT 1 FROM lineage_members m WHERE m.number = n.value AND m.lineage = turns.lineage)
) THEN excluded.lineage ELSE turns.lineage END
RETURNING id;

-- name: write_insert
INSERT INTO writes
    (seq, space, name, lineage, rank, deleted, source, provenance, turn, at, fresh_for, digest, salt, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: heads_of_batch
-- The writes of one space and lineage in a batch, as heads that nothing supersedes.
INSERT INTO heads (space, name, lineage, rank, seq, deleted, state)
SELECT space, name, lineage, rank, seq, deleted, ?5 FROM writes NOT INDEXED
WHERE seq BETWEEN ?1 AND ?2 AND space = ?3 AND lineage = ?4 ORDER BY seq
ON CONFLICT (space, name, lineage) DO UPDATE
SET rank = excluded.rank, seq = excluded.seq, deleted = excluded.deleted, state = excluded.state
WHERE (excluded.rank, excluded.seq) > (heads.rank, heads.seq);

-- name: heads_at
SELECT name, rank, seq, lineage, state FROM heads
WHERE space = ? AND name IN (SELECT value FROM json_each(?)) ORDER BY name, rank DESC, seq DESC;

-- name: head_restate
UPDATE heads SET state = ? WHERE space = ? AND name = ? AND lineage = ?;

-- name: heads_drop
DELETE FROM heads WHERE space = ? AND lineage = ? AND name IN (SELECT value FROM json_each(?));

-- name: lineages_at
-- The heads at some names, at each name the newest first.
SELECT name, lineage FROM heads WHERE space = ? AND name IN (SELECT value FROM json_each(?))
ORDER BY name, rank DESC, seq DESC;

-- name: space_lineages
SELECT lineage FROM counters WHERE space = ?;

-- name: deleting_lineages
SELECT lineage FROM counters WHERE space = ? AND deletes > 0;

-- name: count_lineages
SELECT count(*) FROM counters WHERE space = ?;

-- name: has_lineages
SELECT 1 FROM counters WHERE space = ? LIMIT 1 OFFSET 1;

-- name: count_batch
INSERT INTO counters (space, lineage, puts, deletes)
SELECT ?3, ?4, count(*) - sum(deleted), sum(deleted) FROM writes NOT INDEXED
WHERE seq BETWEEN ?1 AND ?2 AND space = ?3 AND lineage = ?4
ON CONFLICT (space, lineage) DO UPDATE SET puts = puts + excluded.puts, deletes = deletes + excluded.deletes;

-- name: reads_insert
INSERT INTO reads (turn, before_seq, reads) VALUES (?, ?, ?);

-- name: edge_insert
INSERT INTO edges (at, kind, turn, peer, lineage) VALUES (?, ?, ?, ?, ?);

-- name: idempotency_find
SELECT seq, count, lineage, seqs FROM idempotency WHERE key = ? ORDER BY seq DESC;

-- name: idempotency_insert
INSERT INTO idempotency (key, seq, count, lineage) VALUES (?, ?, ?, ?);

-- name: writes_of_call
SELECT w.seq, w.lineage, coalesce(t.uid, '') FROM writes w LEFT JOIN turns t ON t.id = w.turn
WHERE w.seq IN (SELECT value FROM json_each(?)) ORDER BY w.seq;

-- name: repeated_writes
SELECT w.seq, w.space, w.name, w.digest, w.salt, w.source, w.lineage, coalesce(t.uid, '')
FROM writes w LEFT JOIN turns t ON t.id = w.turn WHERE w.seq IN (SELECT value FROM json_each(?)) ORDER BY w.seq;

-- name: head
SELECT c.epoch, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM control c
LEFT JOIN heads h ON h.space = ? AND h.name = ?
LEFT JOIN writes w ON w.seq = h.seq;

-- name: heads
-- The heads of pairs of a name and a lineage.
SELECT h.name, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM json_each(?2) n CROSS JOIN heads h ON h.space = ?1 AND h.name = n.value ->> 0 AND h.lineage = n.value ->> 1
CROSS JOIN writes w ON w.seq = h.seq;

-- name: newest_heads
-- At each name, the newest head of all lineages.
SELECT h.name, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM json_each(?2) n
CROSS JOIN heads h ON h.space = ?1 AND h.name = n.value AND h.lineage = (
    SELECT o.lineage FROM heads o WHERE o.space = ?1 AND o.name = n.value ORDER BY o.rank DESC, o.seq DESC LIMIT 1
)
CROSS JOIN writes w ON w.seq = h.seq;

-- name: heads_in_states
SELECT h.name, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM json_each(?2) s
CROSS JOIN heads h INDEXED BY heads_by_state
ON h.space = ?1 AND h.state = s.value AND h.deleted = 0 AND h.name >= ?3 AND h.name < ?4
CROSS JOIN writes w ON w.seq = h.seq;

-- name: contested_heads
-- Of the heads in contested states, those that no newer one supersedes in the lineages of ?5.
SELECT h.name, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM json_each(?2) s
CROSS JOIN heads h INDEXED BY heads_by_state
ON h.space = ?1 AND h.state = s.value AND h.deleted = 0 AND h.name >= ?3 AND h.name < ?4
CROSS JOIN writes w ON w.seq = h.seq
WHERE NOT EXISTS (
    SELECT 1 FROM heads o
    WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
      AND +o.lineage IN (SELECT value FROM json_each(?5))
);

-- name: contents
SELECT w.name, w.payload FROM json_each(?) asked CROSS JOIN writes w ON w.seq = asked.value ORDER BY asked.key;

-- name: names_in_state
SELECT name FROM heads INDEXED BY heads_by_state
WHERE space = ? AND state = ? AND deleted = 0 AND name >= ? AND name < ?
ORDER BY name DESC LIMIT ?;

-- name: contested_names
SELECT h.name FROM heads h INDEXED BY heads_by_state
WHERE h.space = ?1 AND h.state = ?2 AND h.deleted = 0 AND h.name >= ?3 AND h.name < ?4 AND NOT EXISTS (
    SELECT 1 FROM heads o
    WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
      AND +o.lineage IN (SELECT value FROM json_each(?6))
)
ORDER BY h.name DESC LIMIT ?5;

-- name: lineages_of_deletes
SELECT s.value ->> 1 FROM json_each(?2) s
WHERE EXISTS (
    SELECT 1 FROM heads INDEXED BY heads_by_state
    WHERE space = ?1 AND state = s.value ->> 0 AND deleted = 1 AND name >= ?3 AND name < ?4
);

-- name: lineages_of_contested_deletes
SELECT s.value ->> 1 FROM json_each(?2) s
WHERE EXISTS (
    SELECT 1 FROM heads h INDEXED BY heads_by_state
    WHERE h.space = ?1 AND h.state = s.value ->> 0 AND h.deleted = 1 AND h.name >= ?3 AND h.name < ?4 AND NOT EXISTS (
        SELECT 1 FROM heads o
        WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
          AND +o.lineage IN (SELECT value FROM json_each(?5))
    )
);

-- name: past_lineages
-- The distinct lineages at a key, by seeks: the cost does not grow with the versions of each.
WITH RECURSIVE found (lineage) AS (
    SELECT min(lineage) FROM writes INDEXED BY writes_by_key WHERE space = ?1 AND name = ?2
    UNION ALL
    SELECT (SELECT min(w.lineage) FROM writes w INDEXED BY writes_by_key
            WHERE w.space = ?1 AND w.name = ?2 AND w.lineage > found.lineage)
    FROM found WHERE found.lineage IS NOT NULL
)
SELECT lineage FROM found WHERE lineage IS NOT NULL;

-- name: past_head
SELECT w.name, w.lineage, w.rank, w.seq, w.deleted, w.source, w.at, w.fresh_for, w.payload
FROM writes w INDEXED BY writes_by_key
WHERE space = ?1 AND name = ?2 AND lineage = ?3 AND seq <= ?4 AND rank <= ?5
ORDER BY rank DESC, seq DESC LIMIT 1;

-- name: past_names
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM writes INDEXED BY writes_by_key
    WHERE space = ?1 AND name >= ?2 AND name < ?3
    UNION ALL
    SELECT (SELECT min(w.name) FROM writes w INDEXED BY writes_by_key
            WHERE w.space = ?1 AND w.name > found.name AND w.name < ?3)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL LIMIT ?4;

-- name: past_names_before
SELECT DISTINCT name FROM writes INDEXED BY writes_by_key
WHERE space = ? AND name >= ? AND name < ? ORDER BY name DESC LIMIT ?;

-- name: stores
SELECT DISTINCT store FROM spaces ORDER BY store;

-- name: spaces_of
SELECT space FROM spaces WHERE store = ? ORDER BY space;

-- name: messages_from
SELECT name, seq, lineage, deleted, payload FROM writes INDEXED BY writes_by_key
WHERE space = ? AND name >= ? AND seq <= ? AND rank <= ? ORDER BY name, seq;

-- name: stores_of_session
SELECT id, store FROM spaces
WHERE space = ? AND store NOT IN ('artifacts', 'documents', 'vectors', 'context') ORDER BY store;

-- name: writes_of_space
SELECT name, seq, rank, deleted, source, lineage, provenance, at, fresh_for, payload FROM writes
WHERE space = ? ORDER BY seq;

-- name: session_name_id
SELECT id FROM session_names WHERE session = ?;

-- name: session_name_insert
INSERT INTO session_names (session) VALUES (?) RETURNING id;
