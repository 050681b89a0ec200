-- name: last_write
SELECT coalesce(max(seq), 0) FROM kedge.writes;

-- name: erase
WITH erased AS (
    UPDATE kedge.writes SET payload = NULL, salt = NULL
    WHERE seq BETWEEN $1 AND $2 AND lineage = ANY($3::int8[]) AND salt IS NOT NULL RETURNING 1
)
SELECT count(*) FROM erased;

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
