-- name: true_writes
SELECT w.lineage, w.rank, w.seq, w.deleted, w.source, w.at, w.fresh_for, w.payload, l.members
FROM kedge.writes w JOIN kedge.lineages l ON l.id = w.lineage
WHERE w.space = (SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2) AND w.name = $3;

-- name: heads_of_keys
-- OFFSET 0: a plan for the average space would read all heads of a large one for each key.
SELECT k.number - 1, h.lineage, h.rank, h.seq
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (store, space, name, number)
JOIN kedge.spaces s ON s.store = k.store AND s.space = k.space
CROSS JOIN LATERAL (SELECT * FROM kedge.heads WHERE space = s.id AND name = k.name OFFSET 0) h;

-- name: newest_writes
-- Reads all writes to each key; returns one row a lineage, the newest.
SELECT number - 1, lineage, newest[1], newest[2]
FROM (
    SELECT k.number, w.lineage, max(ARRAY[w.rank, w.seq]) AS newest
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (store, space, name, number)
    JOIN kedge.spaces s ON s.store = k.store AND s.space = k.space
    CROSS JOIN LATERAL (
        SELECT lineage, rank, seq FROM kedge.writes WHERE space = s.id AND name = k.name OFFSET 0
    ) w
    GROUP BY k.number, w.lineage
) found;

-- name: last_write
SELECT coalesce(max(seq), 0) FROM kedge.writes;

-- name: key_near
SELECT s.store, s.space, w.name FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space
WHERE w.seq >= $1 ORDER BY w.seq LIMIT 1;

-- name: row_extents
SELECT id,
    (SELECT seq FROM kedge.vector_rows v WHERE v.embedding = e.id ORDER BY seq LIMIT 1),
    (SELECT seq FROM kedge.vector_rows v WHERE v.embedding = e.id ORDER BY seq DESC LIMIT 1)
FROM kedge.embeddings e;

-- name: row_near
SELECT v.seq, r.state, v.name, s.space
FROM kedge.vector_rows v JOIN kedge.spaces s ON s.id = v.space JOIN kedge.row_states r ON r.seq = v.seq
WHERE v.embedding = $1 AND v.seq >= $2 ORDER BY v.seq LIMIT 1;
