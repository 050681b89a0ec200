-- name: influenced_turns
SELECT id, uid, agent, person, session, parent, replays,
    EXISTS (SELECT 1 FROM writes w WHERE w.turn = t.id AND NOT w.source
            AND w.lineage IN (SELECT value FROM json_each(?1))),
    EXISTS (SELECT 1 FROM writes w WHERE w.turn = t.id AND w.source),
    NOT EXISTS (
        SELECT 1 FROM writes w JOIN spaces s ON s.id = w.space
        WHERE w.turn = t.id AND NOT w.source AND w.lineage IN (SELECT value FROM json_each(?1))
          AND NOT (s.store = 'vectors' AND EXISTS (
              SELECT 1 FROM heads d
              WHERE d.space = (SELECT id FROM spaces WHERE store = 'documents' AND space = s.space) AND d.name = w.name))
    )
FROM turns t
WHERE id IN (SELECT id FROM turns INDEXED BY turns_by_lineage
             WHERE lineage IN (SELECT value FROM json_each(?1)) AND id > ?2 ORDER BY id LIMIT ?3)
ORDER BY id;

-- name: refused_turns
SELECT id, uid, agent, person, session, parent, replays, 1,
    EXISTS (SELECT 1 FROM writes w WHERE w.turn = t.id AND w.source), 0
FROM turns t
WHERE uid IN (SELECT turn FROM edges INDEXED BY edges_refused WHERE kind = 'refused') AND id > ?1
ORDER BY id LIMIT ?2;

-- name: newest_influenced
SELECT id FROM turns INDEXED BY turns_by_lineage
WHERE lineage IN (SELECT value FROM json_each(?1)) ORDER BY id DESC LIMIT ?2;

-- name: reach
SELECT count(*), count(DISTINCT session), (
    SELECT json_group_array(agent) FROM (
        SELECT DISTINCT agent FROM turns INDEXED BY turns_by_lineage
        WHERE lineage IN (SELECT value FROM json_each(?1)) AND agent IS NOT NULL))
FROM turns INDEXED BY turns_by_lineage WHERE lineage IN (SELECT value FROM json_each(?1));

-- name: turns
SELECT id, uid, agent, person, session, parent, replays FROM turns WHERE uid IN (SELECT value FROM json_each(?));

-- name: newest_edges
SELECT at, kind, turn, peer FROM edges WHERE kind <> 'refused' ORDER BY id DESC LIMIT ?;

-- name: newest_turns
SELECT id, uid, agent, person, session, parent, replays FROM turns ORDER BY id DESC LIMIT ?;

-- name: begun_before
SELECT began_at, id, uid, agent, person, session, parent, replays FROM turns
WHERE id > ?2 AND began_at < ?1 ORDER BY id LIMIT ?3;

-- name: budgets
SELECT w.seq, w.at, w.fresh_for FROM writes w JOIN spaces s ON s.id = w.space
WHERE w.seq IN (SELECT value FROM json_each(?)) AND w.fresh_for IS NOT NULL AND s.store = 'context';

-- name: count_messages
SELECT w.turn, count(*) FROM writes w JOIN spaces s ON s.id = w.space
WHERE w.turn IN (SELECT value FROM json_each(?)) AND s.store = 'memory' AND NOT w.deleted GROUP BY w.turn;

-- name: callers
-- UNION keeps each uid once: the walk is linear in turns, also where calls share callers.
WITH RECURSIVE up (uid) AS (
    SELECT value FROM json_each(?)
    UNION
    SELECT t.parent FROM up JOIN turns t ON t.uid = up.uid WHERE t.parent IS NOT NULL
)
SELECT t.id, t.uid, t.agent, t.person, t.session, t.parent, t.replays FROM up CROSS JOIN turns t ON t.uid = up.uid;

-- name: sources_of_turns
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM writes w JOIN spaces s ON s.id = w.space LEFT JOIN turns t ON t.id = w.turn
WHERE w.turn IN (SELECT value FROM json_each(?)) AND w.source AND NOT w.deleted ORDER BY w.seq;

-- name: sources_at
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM writes w JOIN spaces s ON s.id = w.space LEFT JOIN turns t ON t.id = w.turn
WHERE w.seq IN (SELECT value FROM json_each(?)) AND w.source AND NOT w.deleted;

-- name: corrections
SELECT DISTINCT s.store, s.space, n.name, n.seq, n.rank, n.at, t.agent, t.person, t.session, n.turn, NULL
FROM writes w INDEXED BY writes_by_turn JOIN spaces s ON s.id = w.space
JOIN writes n INDEXED BY writes_by_key ON n.space = w.space AND n.name = w.name AND n.seq > w.seq
LEFT JOIN turns t ON t.id = n.turn
WHERE w.turn IN (SELECT value FROM json_each(?1)) AND NOT w.source AND s.store <> 'memory' AND n.source AND NOT n.deleted
ORDER BY n.seq DESC LIMIT ?2;

-- name: source_with_payload
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, w.payload
FROM writes w JOIN spaces s ON s.id = w.space LEFT JOIN turns t ON t.id = w.turn
WHERE w.seq = ? AND w.source AND NOT w.deleted;

-- name: newest_message
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM writes w INDEXED BY writes_by_key JOIN spaces s ON s.id = w.space LEFT JOIN turns t ON t.id = w.turn
WHERE w.space = (SELECT id FROM spaces WHERE store = 'memory' AND space = ?1)
  AND w.source AND NOT w.deleted AND w.seq <= ?2
ORDER BY w.name DESC, w.seq LIMIT 1;

-- name: writers_of
SELECT w.seq, t.id, t.uid, t.agent, t.person, t.session, t.parent, t.replays
FROM writes w JOIN turns t ON t.id = w.turn WHERE w.seq IN (SELECT value FROM json_each(?));

-- name: written_since
SELECT coalesce(t.agent, ''), t.person IS NOT NULL, s.store, s.space, count(*)
FROM turns t JOIN writes w ON w.turn = t.id JOIN spaces s ON s.id = w.space
WHERE t.id >= ? AND instr(t.uid, ':') = 0 GROUP BY 1, 2, s.id;

-- name: spaces_of
SELECT w.seq, s.store, s.space FROM writes w JOIN spaces s ON s.id = w.space
WHERE w.seq IN (SELECT value FROM json_each(?));

-- name: reads_of
SELECT turn, reads FROM reads WHERE turn IN (SELECT value FROM json_each(?)) ORDER BY turn, before_seq;

-- name: session_names
SELECT id, session FROM session_names WHERE id IN (SELECT value FROM json_each(?));
