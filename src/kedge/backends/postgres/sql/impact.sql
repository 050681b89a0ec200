-- name: lineages_with
SELECT DISTINCT lineage FROM kedge.lineage_members WHERE number = ANY($1::int8[])
EXCEPT
SELECT lineage FROM kedge.lineage_members WHERE number = ANY($2::int8[])
ORDER BY lineage;

-- name: count_writes
SELECT s.store, s.space, sum(c.puts)::int8, sum(c.deletes)::int8 FROM kedge.counters c JOIN kedge.spaces s ON s.id = c.space
WHERE c.lineage = ANY($1::int8[])
GROUP BY s.id ORDER BY s.store, s.space;

-- name: spaces_with
SELECT DISTINCT c.space, s.store, s.space FROM kedge.counters c JOIN kedge.spaces s ON s.id = c.space
WHERE c.lineage = ANY($1::int8[]) ORDER BY s.store, s.space;

-- name: affected_keys
-- Keys of the spaces in $1, in the order of the spaces.
SELECT k.number - 1, h.name
FROM unnest($1::int8[]) WITH ORDINALITY AS k (space, number)
CROSS JOIN LATERAL (
    SELECT DISTINCT name FROM kedge.heads
    WHERE space = k.space AND state IN (SELECT id FROM kedge.states WHERE lineage = ANY($2::int8[])) LIMIT $3
) h
ORDER BY k.number LIMIT $3;

-- name: count_affected_keys
SELECT count(*) FROM kedge.heads
WHERE space = ANY($1::int8[]) AND state IN (SELECT id FROM kedge.states WHERE lineage = ANY($2::int8[]));

-- name: heads_of_keys
SELECT k.number - 1, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (store, space, name, number)
JOIN kedge.spaces s ON s.store = k.store AND s.space = k.space
JOIN kedge.heads h ON h.space = s.id AND h.name = k.name
JOIN kedge.writes w ON w.seq = h.seq;

-- name: written_by_both
-- Each key once: only the smallest of the deployment's lineages with a head there returns it.
SELECT s.store, s.space, h.name FROM kedge.heads h JOIN kedge.spaces s ON s.id = h.space
WHERE h.lineage IN (SELECT lineage FROM kedge.lineage_members WHERE number = $1)
  AND EXISTS (SELECT 1 FROM kedge.heads o WHERE o.space = h.space AND o.name = h.name
              AND o.lineage NOT IN (SELECT lineage FROM kedge.lineage_members WHERE number = $1))
  AND NOT EXISTS (SELECT 1 FROM kedge.heads p WHERE p.space = h.space AND p.name = h.name AND p.lineage < h.lineage
                  AND p.lineage IN (SELECT lineage FROM kedge.lineage_members WHERE number = $1))
ORDER BY s.store COLLATE "C", s.space COLLATE "C", h.name COLLATE "C" LIMIT $2;
