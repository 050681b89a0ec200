-- name: last_write
SELECT coalesce(max(seq), 0) FROM kedge.writes;

-- name: erase
WITH erased AS (
    UPDATE kedge.writes SET payload = NULL, salt = NULL
    WHERE seq BETWEEN $1 AND $2 AND lineage = ANY($3::int8[]) AND salt IS NOT NULL RETURNING 1
)
SELECT count(*) FROM erased;

-- name: erase_heads
DELETE FROM kedge.heads WHERE lineage = ANY($1::int8[]);

-- name: erase_cache
DELETE FROM kedge.cache WHERE lineage = ANY($1::int8[]);

-- name: erase_samples
-- Kedge's own are counts of verdicts, without content.
DELETE FROM kedge.observations WHERE lineage = ANY($1::int8[]) AND NOT starts_with(metric, 'kedge:');
