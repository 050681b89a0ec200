-- name: spaces
SELECT id, store, space FROM kedge.spaces WHERE store = ANY($1::text[]) ORDER BY id;

-- name: versions
-- All writes at the keys of a part that have another write, key by key.
WITH keys (space, name) AS (
    SELECT DISTINCT w.space, w.name FROM kedge.writes w
    WHERE w.seq BETWEEN $1 AND $2 AND w.space = ANY($4::int8[])
    AND EXISTS (SELECT 1 FROM kedge.writes o
                WHERE o.space = w.space AND o.name = w.name AND o.seq <> w.seq)
    AND NOT EXISTS (SELECT 1 FROM kedge.writes o
                    WHERE o.space = w.space AND o.name = w.name AND o.seq > $2 AND o.seq <= $3)
)
SELECT w.space, w.name, w.seq, w.rank, w.lineage, w.salt IS NOT NULL AND NOT w.deleted
FROM keys JOIN kedge.writes w ON w.space = keys.space AND w.name = keys.name
ORDER BY w.space, w.name;

-- name: epoch
-- No change of the control record commits before this transaction does.
SELECT epoch FROM kedge.control FOR SHARE;

-- name: erase
WITH doomed AS (
    SELECT seq, length(payload) AS bytes FROM kedge.writes WHERE seq = ANY($1::int8[]) AND salt IS NOT NULL
), erased AS (
    UPDATE kedge.writes w SET payload = NULL, salt = NULL FROM doomed d WHERE w.seq = d.seq RETURNING d.bytes
)
SELECT count(*), coalesce(sum(bytes), 0)::int8 FROM erased;

-- name: sample
-- The size is that on disk: a long payload is not read for it. Of the writes above one at its key a few, by seeks: of
-- its own lineage and of those made later, and of none.
SELECT s.store, s.space, w.seq, coalesce(pg_column_size(w.payload), 0)::int8, w.lineage, a.seqs, a.lineages
FROM kedge.writes w JOIN kedge.spaces s ON s.id = w.space
CROSS JOIN LATERAL (
    SELECT array_agg(o.seq) AS seqs, array_agg(o.lineage) AS lineages FROM (
        (SELECT seq, lineage, rank FROM kedge.writes
         WHERE space = w.space AND name = w.name AND (lineage, rank) > (w.lineage, w.rank)
         ORDER BY lineage, rank LIMIT $2)
        UNION ALL
        (SELECT seq, lineage, rank FROM kedge.writes
         WHERE space = w.space AND name = w.name AND lineage = 0 AND rank > w.rank ORDER BY rank LIMIT $2)
    ) o WHERE (o.rank, o.seq) > (w.rank, w.seq)
) a WHERE w.seq = ANY($1::int8[]);

-- name: vector_bytes
SELECT coalesce(sum(c.rows * e.dim * 4), 0)::int8 FROM kedge.state_counts c JOIN kedge.embeddings e ON e.id = c.embedding;

-- name: claim
-- A time in the future is that of a wrong clock.
INSERT INTO kedge.meta AS m (name, value) VALUES ('reclamation_claim', $1) ON CONFLICT (name) DO UPDATE
SET value = excluded.value WHERE m.value <= $2 OR m.value > $3 RETURNING 1;

-- name: progress
SELECT value FROM kedge.meta WHERE name = 'reclamation';

-- name: set_progress
INSERT INTO kedge.meta (name, value) VALUES ('reclamation', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
