-- name: embeddings
SELECT id, dim FROM kedge.embeddings WHERE collection = $1 ORDER BY id;

-- name: epoch
-- No change of the control record commits before this transaction does.
SELECT epoch FROM kedge.control FOR SHARE;

-- name: delete_purged
-- Up to $3 rows of purged deployments.
WITH chosen AS (
    SELECT v.seq FROM kedge.vector_rows v WHERE v.embedding = $1 AND v.lineage IN (
        SELECT lineage FROM kedge.lineage_members WHERE number = ANY($2::int8[])
    ) LIMIT $3
), gone AS (
    DELETE FROM kedge.row_states r USING chosen WHERE r.seq = chosen.seq RETURNING r.seq, r.embedding, r.state
), counted AS (
    INSERT INTO kedge.state_counts (embedding, state, lane, rows)
    SELECT embedding, state, $4::int8, -count(*) FROM gone GROUP BY embedding, state
    ON CONFLICT (embedding, state, lane) DO UPDATE SET rows = state_counts.rows + excluded.rows
)
DELETE FROM kedge.vector_rows v USING gone WHERE v.seq = gone.seq RETURNING v.seq;

-- name: delete_seqs
WITH gone AS (
    DELETE FROM kedge.row_states r WHERE r.seq = ANY($1::int8[]) RETURNING r.seq, r.embedding, r.state
), counted AS (
    INSERT INTO kedge.state_counts (embedding, state, lane, rows)
    SELECT embedding, state, $2::int8, -count(*) FROM gone GROUP BY embedding, state
    ON CONFLICT (embedding, state, lane) DO UPDATE SET rows = state_counts.rows + excluded.rows
), deleted AS (
    DELETE FROM kedge.vector_rows v USING gone WHERE v.seq = gone.seq RETURNING v.embedding
)
SELECT e.dim FROM deleted d JOIN kedge.embeddings e ON e.id = d.embedding;

-- name: mark
INSERT INTO kedge.meta AS m (name, value) VALUES ('reclaimed', $1) ON CONFLICT (name) DO UPDATE
SET value = excluded.value WHERE convert_from(m.value, 'UTF8')::int8 < convert_from(excluded.value, 'UTF8')::int8;

-- name: is_snapshot
SELECT 1 FROM kedge.snapshots WHERE seq = $1 LIMIT 1;

-- name: reclaimed
SELECT convert_from(value, 'UTF8')::int8 FROM kedge.meta WHERE name = 'reclaimed';
