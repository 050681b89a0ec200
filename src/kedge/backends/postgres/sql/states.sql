-- name: state_find
SELECT id FROM kedge.states WHERE lineage = $1 AND md5(superseders) = md5($2) AND superseders = $2;

-- name: state_insert
INSERT INTO kedge.states (id, lineage, superseders)
SELECT coalesce(max(id), 0) + 1, $1::int8, $2::text FROM kedge.states
ON CONFLICT (lineage, md5(superseders)) DO NOTHING RETURNING id;

-- name: states_after
SELECT id, lineage, superseders FROM kedge.states WHERE id > $1 ORDER BY id;

-- name: states_of_heads
-- The distinct states of a space's heads, by seeks: the cost does not grow with the rows in each.
WITH RECURSIVE found (state) AS (
    (SELECT state FROM kedge.heads WHERE space = $1 ORDER BY state LIMIT 1)
    UNION ALL
    SELECT (SELECT h.state FROM kedge.heads h WHERE h.space = $1 AND h.state > found.state ORDER BY h.state LIMIT 1)
    FROM found WHERE found.state IS NOT NULL
)
SELECT state FROM found WHERE state IS NOT NULL;
