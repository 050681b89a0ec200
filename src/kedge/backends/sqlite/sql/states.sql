-- name: state_find
SELECT id FROM states WHERE lineage = ? AND superseders = ?;

-- name: state_insert
INSERT INTO states (lineage, superseders) VALUES (?, ?) RETURNING id;

-- name: states_after
SELECT id, lineage, superseders FROM states WHERE id > ? ORDER BY id;

-- name: states_of_heads
-- The distinct states of a space's heads, by seeks: the cost does not grow with the rows in each.
WITH RECURSIVE found (state) AS (
    SELECT min(state) FROM heads INDEXED BY heads_by_state WHERE space = ?1
    UNION ALL
    SELECT (SELECT min(h.state) FROM heads h INDEXED BY heads_by_state WHERE h.space = ?1 AND h.state > found.state)
    FROM found WHERE found.state IS NOT NULL
)
SELECT state FROM found WHERE state IS NOT NULL;
