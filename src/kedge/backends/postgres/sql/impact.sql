-- name: lineages_with
SELECT DISTINCT lineage FROM kedge.lineage_members WHERE number = ANY($1::int8[])
EXCEPT
SELECT lineage FROM kedge.lineage_members WHERE number = ANY($2::int8[])
ORDER BY lineage;

-- name: count_writes
SELECT s.store, s.space, c.puts, c.deletes
FROM kedge.spaces s CROSS JOIN LATERAL (
    SELECT sum(puts)::int8 AS puts, sum(deletes)::int8 AS deletes FROM kedge.counters
    WHERE space = s.id AND lineage = ANY($1::int8[])
) c
WHERE c.puts IS NOT NULL ORDER BY s.store, s.space LIMIT $2;

-- name: totals
SELECT s.store, count(DISTINCT s.id), sum(c.puts + c.deletes)::int8
FROM kedge.counters c JOIN kedge.spaces s ON s.id = c.space
WHERE c.lineage = ANY($1::int8[])
GROUP BY s.store ORDER BY s.store;

-- name: affected_keys
SELECT s.store, s.space, h.name
FROM kedge.spaces s CROSS JOIN LATERAL (
    SELECT DISTINCT name FROM kedge.heads
    WHERE space = s.id AND state IN (SELECT id FROM kedge.states WHERE lineage = ANY($1::int8[]))
      AND EXISTS (SELECT FROM kedge.counters c WHERE c.space = s.id AND c.lineage = ANY($1::int8[]))
    LIMIT $2
) h
ORDER BY s.store, s.space LIMIT $2;

-- name: count_affected_keys
SELECT count(*)
FROM (SELECT DISTINCT space FROM kedge.counters WHERE lineage = ANY($1::int8[])) c JOIN kedge.heads h ON h.space = c.space
WHERE h.state IN (SELECT id FROM kedge.states WHERE lineage = ANY($1::int8[]));

-- name: heads_of_keys
-- OFFSET 0: a plan for the average space would read all heads of a large one for each key.
SELECT k.number - 1, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for,
    CASE WHEN k.store = 'artifacts' THEN w.payload END
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (store, space, name, number)
JOIN kedge.spaces s ON s.store = k.store AND s.space = k.space
CROSS JOIN LATERAL (SELECT * FROM kedge.heads WHERE space = s.id AND name = k.name OFFSET 0) h
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

-- name: arrivals
SELECT seq, at, lineage FROM kedge.writes WHERE seq > $2 AND lineage = ANY($1::int8[])
ORDER BY seq DESC LIMIT $3;
