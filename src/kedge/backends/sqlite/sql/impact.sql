-- name: lineages_with
SELECT DISTINCT lineage FROM lineage_members WHERE number IN (SELECT value FROM json_each(?1))
EXCEPT
SELECT lineage FROM lineage_members WHERE number IN (SELECT value FROM json_each(?2))
ORDER BY lineage;

-- name: count_writes
SELECT s.store, s.space, sum(c.puts), sum(c.deletes) FROM counters c JOIN spaces s ON s.id = c.space
WHERE c.lineage IN (SELECT value FROM json_each(?))
GROUP BY s.id ORDER BY s.store, s.space;

-- name: spaces_with
SELECT DISTINCT c.space, s.store, s.space FROM counters c JOIN spaces s ON s.id = c.space
WHERE c.lineage IN (SELECT value FROM json_each(?)) ORDER BY s.store, s.space;

-- name: affected_keys
SELECT DISTINCT name FROM heads INDEXED BY heads_by_state
WHERE space = ? AND state IN (SELECT id FROM states WHERE lineage IN (SELECT value FROM json_each(?))) LIMIT ?;

-- name: count_affected_keys
SELECT count(*) FROM heads INDEXED BY heads_by_state
WHERE space = ? AND state IN (SELECT id FROM states WHERE lineage IN (SELECT value FROM json_each(?)));

-- name: written_by_both
-- Each key once: only the smallest of the deployment's lineages with a head there returns it.
SELECT s.store, s.space, h.name FROM heads h JOIN spaces s ON s.id = h.space
WHERE h.lineage IN (SELECT lineage FROM lineage_members WHERE number = ?1)
  AND EXISTS (SELECT 1 FROM heads o WHERE o.space = h.space AND o.name = h.name
              AND o.lineage NOT IN (SELECT lineage FROM lineage_members WHERE number = ?1))
  AND NOT EXISTS (SELECT 1 FROM heads p WHERE p.space = h.space AND p.name = h.name AND p.lineage < h.lineage
                  AND p.lineage IN (SELECT lineage FROM lineage_members WHERE number = ?1))
ORDER BY s.store, s.space, h.name LIMIT ?2;
