-- name: influenced_turns
SELECT id, uid, agent, person, session, parent, replays,
    EXISTS (SELECT 1 FROM kedge.writes w WHERE w.turn = t.id AND NOT w.source
            AND w.lineage = ANY($1::int8[])),
    EXISTS (SELECT 1 FROM kedge.writes w WHERE w.turn = t.id AND w.source),
    NOT EXISTS (
        SELECT 1 FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space
        WHERE w.turn = t.id AND NOT w.source AND w.lineage = ANY($1::int8[])
          AND NOT (s.store = 'vectors' AND EXISTS (
              SELECT 1 FROM kedge.heads d
              WHERE d.space = (SELECT id FROM kedge.spaces WHERE store = 'documents' AND space = s.space)
                AND d.name = w.name))
    )
FROM kedge.turns t
WHERE id IN (SELECT id FROM kedge.turns WHERE lineage = ANY($1::int8[]) AND id > $2 ORDER BY id LIMIT $3)
ORDER BY id;

-- name: refused_turns
SELECT id, uid, agent, person, session, parent, replays, true,
    EXISTS (SELECT 1 FROM kedge.writes w WHERE w.turn = t.id AND w.source), false
FROM kedge.turns t
WHERE uid IN (SELECT turn FROM kedge.edges WHERE kind = 'refused') AND id > $1::int8
ORDER BY id LIMIT $2::int8;

-- name: newest_influenced
SELECT id FROM kedge.turns WHERE lineage = ANY($1::int8[]) ORDER BY id DESC LIMIT $2;

-- name: influenced_agents
SELECT DISTINCT agent FROM kedge.turns WHERE lineage = ANY($1::int8[]) AND agent IS NOT NULL ORDER BY agent;

-- name: influenced_total
SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT session FROM kedge.turns
                                        WHERE lineage = ANY($1::int8[]) AND session IS NOT NULL) s)
FROM kedge.turns WHERE lineage = ANY($1::int8[]);

-- name: turns
SELECT id, uid, agent, person, session, parent, replays FROM kedge.turns WHERE uid = ANY($1::text[]);

-- name: newest_edges
SELECT at, kind, turn, peer FROM kedge.edges WHERE kind <> 'refused' ORDER BY id DESC LIMIT $1;

-- name: newest_turns
SELECT id, uid, agent, person, session, parent, replays FROM kedge.turns ORDER BY id DESC LIMIT $1;

-- name: begun_before
SELECT began_at, id, uid, agent, person, session, parent, replays FROM kedge.turns
WHERE id > $2 AND began_at < $1 ORDER BY id LIMIT $3;

-- name: budgets
SELECT w.seq, w.at, w.fresh_for FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space
WHERE w.seq = ANY($1::int8[]) AND w.fresh_for IS NOT NULL AND s.store = 'context';

-- name: count_messages
SELECT w.turn, count(*) FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space
WHERE w.turn = ANY($1::int8[]) AND s.store = 'memory' AND NOT w.deleted GROUP BY w.turn;

-- name: callers
-- UNION keeps each uid once: the walk is linear in turns, also where calls share callers.
WITH RECURSIVE up (uid) AS (
    SELECT u.uid COLLATE "C" FROM unnest($1::text[]) AS u (uid)
    UNION
    SELECT t.parent FROM up JOIN kedge.turns t ON t.uid = up.uid WHERE t.parent IS NOT NULL
)
SELECT t.id, t.uid, t.agent, t.person, t.session, t.parent, t.replays FROM up JOIN kedge.turns t ON t.uid = up.uid;

-- name: sources_of_turns
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space LEFT JOIN kedge.turns t ON t.id = w.turn
WHERE w.turn = ANY($1::int8[]) AND w.source AND NOT w.deleted ORDER BY w.seq;

-- name: sources_at
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space LEFT JOIN kedge.turns t ON t.id = w.turn
WHERE w.seq = ANY($1::int8[]) AND w.source AND NOT w.deleted;

-- name: corrections
SELECT DISTINCT s.store, s.space, n.name, n.seq, n.rank, n.at, t.agent, t.person, t.session, n.turn, NULL
FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space
JOIN kedge.writes n ON n.space = w.space AND n.name = w.name AND n.seq > w.seq
LEFT JOIN kedge.turns t ON t.id = n.turn
WHERE w.turn = ANY($1::int8[]) AND NOT w.source AND s.store <> 'memory' AND n.source AND NOT n.deleted
ORDER BY n.seq DESC LIMIT $2;

-- name: source_with_payload
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, w.payload
FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space LEFT JOIN kedge.turns t ON t.id = w.turn
WHERE w.seq = $1 AND w.source AND NOT w.deleted;

-- name: newest_messages
SELECT k.number - 1, 'memory', k.session, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS k (session, upto, number)
JOIN kedge.spaces s ON s.store = 'memory' AND s.space = k.session
CROSS JOIN LATERAL (
    SELECT * FROM kedge.writes w WHERE w.space = s.id AND w.source AND NOT w.deleted AND w.seq <= k.upto
    ORDER BY w.name DESC, w.seq LIMIT 1
) w
LEFT JOIN kedge.turns t ON t.id = w.turn;

-- name: writers_of
SELECT w.seq, t.id, t.uid, t.agent, t.person, t.session, t.parent, t.replays
FROM kedge.writes w JOIN kedge.turns t ON t.id = w.turn WHERE w.seq = ANY($1::int8[]);

-- name: written_since
SELECT coalesce(t.agent, ''), t.person IS NOT NULL, s.store, s.space, count(*)
FROM kedge.turns t JOIN kedge.writes w ON w.turn = t.id JOIN kedge.spaces s ON s.id = w.space
WHERE t.id >= $1::int8 AND strpos(t.uid, ':') = 0 GROUP BY 1, 2, s.id;

-- name: spaces_of
SELECT w.seq, s.store, s.space FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space
WHERE w.seq = ANY($1::int8[]);

-- name: reads_of
SELECT turn, reads FROM kedge.reads WHERE turn = ANY($1::int8[]) ORDER BY turn, before_seq;

-- name: session_names
SELECT id, session FROM kedge.session_names WHERE id = ANY($1::int8[]);
