-- name: embeddings
SELECT id FROM kedge.embeddings WHERE collection = $1 ORDER BY id;

-- name: epoch
-- No change of the control record commits before this transaction does.
SELECT epoch FROM kedge.control FOR SHARE;

-- name: rows_of_purged
-- Up to $3 rows of purged deployments.
SELECT v.seq FROM kedge.vector_rows v WHERE v.embedding = $1 AND v.lineage IN (
    SELECT lineage FROM kedge.lineage_members WHERE number = ANY($2::int8[])
) LIMIT $3;

-- name: sources
SELECT seq FROM kedge.writes WHERE seq = ANY($1::int8[]) AND source;

-- name: mark
-- For all collections, too, while processes may write ($3) that look for that.
INSERT INTO kedge.meta AS m (name, value)
SELECT n.name, $1::bytea FROM unnest(ARRAY['reclaimed:' || $2::text, 'reclaimed']) AS n (name)
WHERE n.name <> 'reclaimed' OR $3::int8 > coalesce(
    (SELECT convert_from(f.value, 'UTF8')::int8 FROM kedge.meta f WHERE f.name = 'min_writer'), 1)
ON CONFLICT (name) DO UPDATE
SET value = excluded.value WHERE convert_from(m.value, 'UTF8')::int8 < convert_from(excluded.value, 'UTF8')::int8;

-- name: is_snapshot
SELECT 1 FROM kedge.snapshots WHERE seq = $1 LIMIT 1;

-- name: reclaimed
SELECT coalesce(max(convert_from(value, 'UTF8')::int8), 0) FROM kedge.meta
WHERE name IN ('reclaimed', 'reclaimed:' || $1::text);
