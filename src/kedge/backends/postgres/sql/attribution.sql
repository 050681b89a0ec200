-- name: agents
-- The agents that had turns, by seeks: the cost does not grow with the turns of each.
WITH RECURSIVE found (agent) AS (
    SELECT (SELECT agent FROM kedge.turns WHERE agent IS NOT NULL ORDER BY agent LIMIT 1)
    UNION ALL
    SELECT (SELECT t.agent FROM kedge.turns t WHERE t.agent > found.agent ORDER BY t.agent LIMIT 1)
    FROM found WHERE found.agent IS NOT NULL
)
SELECT agent FROM found WHERE agent IS NOT NULL LIMIT $1;

-- name: sets_with
SELECT id FROM kedge.seen_sets WHERE position(' ' || $1::int8 || ',' IN ' ' || btrim(members, '[]') || ',') > 0;

-- name: writes_without
-- Of the writes that these turns made, the first ones: how many are derived and of none of the lineages. The inner
-- limit keeps the planner from a scan of the whole journal.
SELECT s.store, count(*), count(*) FILTER (WHERE NOT w.source AND l.id IS NULL)
FROM (
    SELECT w.space, w.source, w.lineage FROM kedge.turns t
    CROSS JOIN LATERAL (SELECT * FROM kedge.writes WHERE turn = t.id LIMIT $4) w
    WHERE t.agent = $1 AND t.seen = ANY($2::int8[]) LIMIT $4
) w
JOIN kedge.spaces s ON s.id = w.space
LEFT JOIN unnest($3::int8[]) AS l (id) ON l.id = w.lineage
GROUP BY s.store ORDER BY s.store;

-- name: unknown_turns
SELECT count(*) FROM (
    SELECT 1 FROM kedge.turns
    WHERE seen IS NULL AND person IS NULL AND position(':' IN uid) = 0 AND id > (
        SELECT coalesce(min(turn), 0) FROM kedge.writes
        WHERE space = (SELECT id FROM kedge.spaces WHERE store = 'artifacts' AND space = '') AND name = $1
          AND lineage IN (SELECT lineage FROM kedge.lineage_members WHERE number = $2)
    ) LIMIT $3
) t;

-- name: artifact_names
WITH RECURSIVE place (id) AS (
    SELECT id FROM kedge.spaces WHERE store = 'artifacts' AND space = ''
), found (name) AS (
    SELECT (SELECT h.name FROM kedge.heads h WHERE h.space = (SELECT id FROM place) ORDER BY h.name LIMIT 1)
    UNION ALL
    SELECT (SELECT h.name FROM kedge.heads h WHERE h.space = (SELECT id FROM place) AND h.name > found.name
            ORDER BY h.name LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;
