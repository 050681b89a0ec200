-- name: lineages_with
SELECT DISTINCT lineage FROM kedge.lineage_members WHERE number = ANY($1::int8[])
EXCEPT
SELECT lineage FROM kedge.lineage_members WHERE number = ANY($2::int8[])
ORDER BY lineage;

-- name: counted
SELECT s.store, s.space, sum(c.puts)::int8, sum(c.deletes)::int8 FROM kedge.counters c JOIN kedge.spaces s ON s.id = c.space
WHERE c.lineage = ANY($1::int8[])
GROUP BY s.id ORDER BY s.store, s.space;

-- name: spaces_with
SELECT DISTINCT c.space, s.store, s.space FROM kedge.counters c JOIN kedge.spaces s ON s.id = c.space
WHERE c.lineage = ANY($1::int8[]) ORDER BY s.store, s.space;

-- name: keys_of
-- Of the spaces in $1, in their order.
SELECT k.number - 1, h.name
FROM unnest($1::int8[]) WITH ORDINALITY AS k (space, number)
CROSS JOIN LATERAL (
    SELECT DISTINCT name FROM kedge.heads
    WHERE space = k.space AND state IN (SELECT id FROM kedge.states WHERE lineage = ANY($2::int8[])) LIMIT $3
) h
ORDER BY k.number LIMIT $3;

-- name: count_keys_of
SELECT count(*) FROM kedge.heads
WHERE space = ANY($1::int8[]) AND state IN (SELECT id FROM kedge.states WHERE lineage = ANY($2::int8[]));

-- name: influenced
SELECT id, uid, agent, session, parent, replays,
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
WHERE lineage = ANY($1::int8[]) ORDER BY id;

-- name: sources_inside
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM kedge.turns t
JOIN kedge.writes w ON w.turn = t.id
JOIN kedge.spaces s ON s.id = w.space
WHERE t.lineage = ANY($1::int8[]) AND w.source AND NOT w.deleted ORDER BY w.seq;

-- name: turns
SELECT id, uid, agent, session, parent, replays FROM kedge.turns WHERE uid = ANY($1::text[]);

-- name: sources_of
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space JOIN kedge.turns t ON t.id = w.turn
WHERE w.turn = ANY($1::int8[]) AND w.source AND NOT w.deleted ORDER BY w.seq;

-- name: sources_at
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space JOIN kedge.turns t ON t.id = w.turn
WHERE w.seq = ANY($1::int8[]) AND w.source AND NOT w.deleted;

-- name: source_at
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, w.payload
FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space JOIN kedge.turns t ON t.id = w.turn
WHERE w.seq = $1 AND w.source AND NOT w.deleted;

-- name: newest_messages
SELECT k.number - 1, 'memory', k.session, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS k (session, upto, number)
JOIN kedge.spaces s ON s.store = 'memory' AND s.space = k.session
CROSS JOIN LATERAL (
    SELECT * FROM kedge.writes w WHERE w.space = s.id AND w.source AND NOT w.deleted AND w.seq <= k.upto
    ORDER BY w.name DESC LIMIT 1
) w
JOIN kedge.turns t ON t.id = w.turn;

-- name: writers_of
SELECT w.seq, t.id, t.uid, t.agent, t.session, t.parent, t.replays
FROM kedge.writes w JOIN kedge.turns t ON t.id = w.turn WHERE w.seq = ANY($1::int8[]);

-- name: reads_of
SELECT turn, reads FROM kedge.reads WHERE turn = ANY($1::int8[]) ORDER BY turn, before_seq;

-- name: written_by_both
-- A key once, however many of the deployment's lineages have a head there: by the least of them.
SELECT s.store, s.space, h.name FROM kedge.heads h JOIN kedge.spaces s ON s.id = h.space
WHERE h.lineage IN (SELECT lineage FROM kedge.lineage_members WHERE number = $1)
  AND EXISTS (SELECT 1 FROM kedge.heads o WHERE o.space = h.space AND o.name = h.name
              AND o.lineage NOT IN (SELECT lineage FROM kedge.lineage_members WHERE number = $1))
  AND NOT EXISTS (SELECT 1 FROM kedge.heads p WHERE p.space = h.space AND p.name = h.name AND p.lineage < h.lineage
                  AND p.lineage IN (SELECT lineage FROM kedge.lineage_members WHERE number = $1))
LIMIT $2;

-- name: replayed_upto
SELECT seq, turn FROM kedge.replayed WHERE seq = ANY($1::int8[]);

-- name: mark_replayed
INSERT INTO kedge.replayed (seq, turn, uid) VALUES ($1, $2, $3)
ON CONFLICT (seq) DO UPDATE SET turn = greatest(replayed.turn, excluded.turn), uid = excluded.uid;

-- name: names_after
SELECT DISTINCT name FROM kedge.heads
WHERE space = (SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2) AND name > $3
ORDER BY name LIMIT $4;

-- name: names_count
SELECT count(DISTINCT name) FROM kedge.heads
WHERE space = (SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2);

-- name: names_since
SELECT DISTINCT name FROM kedge.writes
WHERE seq > $3 AND space = (SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2)
  AND lineage <> ALL($4::int8[])
ORDER BY name;

-- name: embedded_in
SELECT v.seq, e.space FROM kedge.vector_rows v JOIN kedge.embeddings e ON e.id = v.embedding
WHERE v.seq = ANY($1::int8[]);

-- name: batches_of
SELECT w.seq, w.turn, (SELECT max(r.before_seq) FROM kedge.reads r WHERE r.turn = w.turn AND r.before_seq <= w.seq)
FROM kedge.writes w WHERE w.seq = ANY($1::int8[]);

-- name: reads_before
SELECT reads FROM kedge.reads WHERE turn = $1 AND before_seq = $2;

-- name: versions
SELECT name, seq FROM kedge.writes
WHERE space = (SELECT id FROM kedge.spaces WHERE store = 'documents' AND space = $1)
  AND name = ANY($2::text[]);

-- name: lineages_in
SELECT DISTINCT lineage FROM kedge.counters WHERE space IN ($1, $2);

-- name: unfed
-- $1, $2: the spaces of the vectors and of the documents; $3: the lineages asked for; $4: those that the view sees.
-- NOT EXISTS sorts out the many that some visible put covers for sure, so that few are looked at closely.
SELECT f.name, f.document, d.rank, CASE WHEN NOT c.deleted THEN c.seq ELSE 0 END, w.turn, t.agent, t.session
FROM (
    SELECT h.name, max(h.seq) AS vector,
        (SELECT o.seq FROM kedge.heads o WHERE o.space = $2 AND o.name = h.name
         AND o.lineage = ANY($4::int8[]) ORDER BY o.rank DESC, o.seq DESC LIMIT 1) AS document,
        (SELECT o.seq FROM kedge.heads o WHERE o.space = $1 AND o.name = h.name
         AND o.lineage = ANY($4::int8[]) ORDER BY o.rank DESC, o.seq DESC LIMIT 1) AS covering
    FROM kedge.heads h
    WHERE h.space = $1 AND NOT h.deleted AND h.lineage = ANY($3::int8[])
      AND ($5 OR NOT EXISTS (
          SELECT 1 FROM kedge.heads o
          WHERE o.space = $1 AND o.name = h.name AND o.lineage = ANY($4::int8[]) AND NOT o.deleted
            AND o.rank > (SELECT max(d.rank) FROM kedge.heads d WHERE d.space = $2 AND d.name = h.name
                          AND d.lineage = ANY($4::int8[]))
            AND NOT EXISTS (SELECT 1 FROM kedge.heads n WHERE n.space = $1 AND n.name = h.name AND n.deleted)))
    GROUP BY h.name
) f
JOIN kedge.writes d ON d.seq = f.document
LEFT JOIN kedge.writes c ON c.seq = f.covering
JOIN kedge.writes w ON w.seq = f.vector
JOIN kedge.turns t ON t.id = w.turn
WHERE NOT d.deleted AND ($5 OR c.seq IS NULL OR c.deleted OR (c.rank, c.seq) < (d.rank, d.seq))
ORDER BY f.name;

-- name: true_writes
SELECT w.lineage, w.rank, w.seq, w.deleted, w.source, w.at, w.fresh_for, w.payload, l.members
FROM kedge.writes w JOIN kedge.lineages l ON l.id = w.lineage
WHERE w.space = (SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2) AND w.name = $3;

-- name: heads_of
SELECT k.number - 1, h.lineage, h.rank, h.seq
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (store, space, name, number)
JOIN kedge.spaces s ON s.store = k.store AND s.space = k.space
JOIN kedge.heads h ON h.space = s.id AND h.name = k.name;

-- name: whole_heads_of
SELECT k.number - 1, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (store, space, name, number)
JOIN kedge.spaces s ON s.store = k.store AND s.space = k.space
JOIN kedge.heads h ON h.space = s.id AND h.name = k.name
JOIN kedge.writes w ON w.seq = h.seq;

-- name: newest_writes_of
-- By every write to a key, however many: one row of each lineage comes back.
SELECT number - 1, lineage, newest[1], newest[2]
FROM (
    SELECT k.number, w.lineage, max(ARRAY[w.rank, w.seq]) AS newest
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (store, space, name, number)
    JOIN kedge.spaces s ON s.store = k.store AND s.space = k.space
    JOIN kedge.writes w ON w.space = s.id AND w.name = k.name
    GROUP BY k.number, w.lineage
) found;

-- name: key_near
SELECT s.store, s.space, w.name FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space
WHERE w.seq >= $1 ORDER BY w.seq LIMIT 1;

-- name: row_near
SELECT v.seq, r.state, v.name, s.space
FROM kedge.vector_rows v JOIN kedge.spaces s ON s.id = v.space JOIN kedge.row_states r ON r.seq = v.seq
WHERE v.embedding = $1 AND v.seq >= $2 ORDER BY v.seq LIMIT 1;

-- name: row_extents
SELECT id,
    (SELECT seq FROM kedge.vector_rows v WHERE v.embedding = e.id ORDER BY seq LIMIT 1),
    (SELECT seq FROM kedge.vector_rows v WHERE v.embedding = e.id ORDER BY seq DESC LIMIT 1)
FROM kedge.embeddings e;

-- name: last_write
SELECT coalesce(max(seq), 0) FROM kedge.writes;

-- name: erase_rows
-- Take up to $3 vector rows away, and off the counts of their states.
WITH chosen AS (
    SELECT r.seq FROM kedge.states s JOIN kedge.embeddings e ON true
    JOIN kedge.row_states r ON r.embedding = e.id AND r.state = s.id
    WHERE s.lineage = ANY($1::int8[]) LIMIT $3
), gone AS (
    DELETE FROM kedge.row_states r USING chosen WHERE r.seq = chosen.seq RETURNING r.seq, r.embedding, r.state
), counted AS (
    INSERT INTO kedge.state_counts (embedding, state, lane, rows)
    SELECT embedding, state, $2::int8, -count(*) FROM gone GROUP BY embedding, state
    ON CONFLICT (embedding, state, lane) DO UPDATE SET rows = state_counts.rows + excluded.rows
)
DELETE FROM kedge.vector_rows v USING gone WHERE v.seq = gone.seq RETURNING v.seq;

-- name: erase_heads
DELETE FROM kedge.heads WHERE lineage = ANY($1::int8[]);

-- name: erase_cache
DELETE FROM kedge.cache WHERE lineage = ANY($1::int8[]);

-- name: erase
WITH erased AS (
    UPDATE kedge.writes SET payload = NULL, salt = NULL
    WHERE seq BETWEEN $1 AND $2 AND lineage = ANY($3::int8[]) AND salt IS NOT NULL RETURNING 1
)
SELECT count(*) FROM erased;

-- name: first_seq_of_turns
SELECT min(w.seq) FROM kedge.writes w JOIN kedge.turns t ON t.id = w.turn
WHERE t.lineage = ANY($1::int8[]);
