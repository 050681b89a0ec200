-- name: agents
-- The agents that had turns, by seeks: the cost does not grow with the turns of each.
WITH RECURSIVE found (agent) AS (
    SELECT min(agent) FROM turns
    UNION ALL
    SELECT (SELECT min(t.agent) FROM turns t WHERE t.agent > found.agent) FROM found WHERE found.agent IS NOT NULL
)
SELECT agent FROM found WHERE agent IS NOT NULL LIMIT ?;

-- name: sets_with
SELECT id FROM seen_sets WHERE instr(' ' || trim(members, '[]') || ',', ' ' || ? || ',') > 0;

-- name: writes_without
-- Of the writes that these turns made, the first ones: how many are derived and of none of the lineages.
SELECT s.store, count(*), sum(NOT w.source AND w.lineage NOT IN (SELECT value FROM json_each(?3)))
FROM (
    SELECT w.space, w.source, w.lineage
    FROM turns t INDEXED BY turns_by_agent CROSS JOIN writes w INDEXED BY writes_by_turn ON w.turn = t.id
    WHERE t.agent = ?1 AND t.seen IN (SELECT value FROM json_each(?2)) LIMIT ?4
) w
JOIN spaces s ON s.id = w.space
GROUP BY s.store ORDER BY s.store;

-- name: unknown_turns
SELECT count(*) FROM (
    SELECT 1 FROM turns INDEXED BY turns_unknown
    WHERE seen IS NULL AND person IS NULL AND instr(uid, ':') = 0 AND id > (
        SELECT coalesce(min(turn), 0) FROM writes INDEXED BY writes_by_key
        WHERE space = (SELECT id FROM spaces WHERE store = 'artifacts' AND space = '') AND name = ?1
          AND lineage IN (SELECT lineage FROM lineage_members WHERE number = ?2)
    ) LIMIT ?3
);

-- name: artifact_names
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM heads WHERE space = (SELECT id FROM spaces WHERE store = 'artifacts' AND space = '')
    UNION ALL
    SELECT (SELECT min(h.name) FROM heads h
            WHERE h.space = (SELECT id FROM spaces WHERE store = 'artifacts' AND space = '') AND h.name > found.name)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;
