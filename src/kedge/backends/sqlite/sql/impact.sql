-- name: lineages_with
SELECT DISTINCT lineage FROM lineage_members WHERE number IN (SELECT value FROM json_each(?1))
EXCEPT
SELECT lineage FROM lineage_members WHERE number IN (SELECT value FROM json_each(?2))
ORDER BY lineage;

-- name: count_writes
SELECT s.store, s.space, sum(c.puts), sum(c.deletes) FROM spaces s CROSS JOIN counters c ON c.space = s.id
WHERE c.lineage IN (SELECT value FROM json_each(?))
GROUP BY s.store, s.space ORDER BY s.store, s.space LIMIT ?;

-- name: totals
SELECT s.store, count(DISTINCT s.id), sum(c.puts + c.deletes) FROM counters c JOIN spaces s ON s.id = c.space
WHERE c.lineage IN (SELECT value FROM json_each(?))
GROUP BY s.store ORDER BY s.store;

-- name: affected_keys
SELECT DISTINCT s.store, s.space, h.name
FROM spaces s CROSS JOIN counters c ON c.space = s.id
CROSS JOIN states t ON t.lineage = c.lineage
CROSS JOIN heads h INDEXED BY heads_by_state ON h.space = s.id AND h.state = t.id
WHERE c.lineage IN (SELECT value FROM json_each(?)) ORDER BY s.store, s.space LIMIT ?;

-- name: count_affected_keys
SELECT count(*)
FROM counters c CROSS JOIN states t ON t.lineage = c.lineage
CROSS JOIN heads h INDEXED BY heads_by_state ON h.space = c.space AND h.state = t.id
WHERE c.lineage IN (SELECT value FROM json_each(?));

-- name: written_by_both
-- Each key once: only the smallest of the deployment's lineages with a head there returns it.
SELECT s.store, s.space, h.name FROM heads h JOIN spaces s ON s.id = h.space
WHERE h.lineage IN (SELECT lineage FROM lineage_members WHERE number = ?1)
  AND EXISTS (SELECT 1 FROM heads o WHERE o.space = h.space AND o.name = h.name
              AND o.lineage NOT IN (SELECT lineage FROM lineage_members WHERE number = ?1))
  AND NOT EXISTS (SELECT 1 FROM heads p WHERE p.space = h.space AND p.name = h.name AND p.lineage < h.lineage
                  AND p.lineage IN (SELECT lineage FROM lineage_members WHERE number = ?1))
ORDER BY s.store, s.space, h.name LIMIT ?2;

-- name: arrivals
SELECT seq, at, lineage FROM writes WHERE seq > ?2 AND +lineage IN (SELECT value FROM json_each(?1))
ORDER BY seq DESC LIMIT ?3;
