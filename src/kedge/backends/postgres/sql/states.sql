-- name: state_find
SELECT id FROM kedge.states WHERE lineage = $1 AND md5(superseders) = md5($2) AND superseders = $2;

-- name: state_intern
-- The state, made where it is not there and its lineage has fewer than $3 (NULL: any number).
WITH found AS (
    SELECT id, retired FROM kedge.states WHERE lineage = $1 AND md5(superseders) = md5($2) AND superseders = $2
), made AS (
    INSERT INTO kedge.states (id, lineage, superseders)
    SELECT nextval('kedge.state_ids'), $1::int8, $2::text WHERE NOT EXISTS (SELECT FROM found)
        AND ($3::int8 IS NULL OR (SELECT count(*) FROM kedge.states WHERE lineage = $1) < $3)
    ON CONFLICT (lineage, md5(superseders)) DO NOTHING RETURNING id
)
SELECT id, retired FROM found UNION ALL SELECT id, FALSE FROM made;

-- name: state_insert_dense
INSERT INTO kedge.states (id, lineage, superseders)
SELECT coalesce(max(id), 0) + 1, $1::int8, $2::text FROM kedge.states
ON CONFLICT (lineage, md5(superseders)) DO NOTHING RETURNING id;

-- name: states_by_id
SELECT id, lineage, superseders FROM kedge.states WHERE id = ANY($1::int8[]);

-- name: states_named
SELECT s.id, s.lineage, s.superseders FROM unnest($1::int8[], $2::text[]) AS n (lineage, superseders)
JOIN kedge.states s ON s.lineage = n.lineage AND md5(s.superseders) = md5(n.superseders)
    AND s.superseders = n.superseders;

-- name: states_of_heads
-- The distinct states of a space's heads, by seeks: the cost does not grow with the rows in each.
WITH RECURSIVE found (state) AS (
    (SELECT state FROM kedge.heads WHERE space = $1 ORDER BY state LIMIT 1)
    UNION ALL
    SELECT (SELECT h.state FROM kedge.heads h WHERE h.space = $1 AND h.state > found.state ORDER BY h.state LIMIT 1)
    FROM found WHERE found.state IS NOT NULL
)
SELECT state FROM found WHERE state IS NOT NULL;

-- name: unused
-- States that no head and no vector row is in, without those that each lineage has.
SELECT id, retired FROM kedge.states s
WHERE superseders NOT IN ('[]', '[0]', 'null')
  AND NOT EXISTS (SELECT 1 FROM kedge.heads h WHERE h.state = s.id)
  AND NOT EXISTS (SELECT 1 FROM kedge.row_states r WHERE r.state = s.id);

-- name: delete
DELETE FROM kedge.states WHERE id = ANY($1::int8[]) RETURNING id;

-- name: retire
UPDATE kedge.states SET retired = TRUE WHERE id = ANY($1::int8[]);

-- name: announce
INSERT INTO kedge.states (id, lineage, superseders)
SELECT coalesce(max(id), 0) + 1, 0, $1::text FROM kedge.states
ON CONFLICT (lineage, md5(superseders)) DO NOTHING;

-- name: draw_on
SELECT setval('kedge.state_ids', greatest((SELECT max(id) FROM kedge.states), (SELECT last_value FROM kedge.state_ids)));

-- name: states_with_several
SELECT id, lineage, superseders FROM kedge.states WHERE superseders LIKE '%,%' ORDER BY id;

-- name: move_newest_heads
UPDATE kedge.heads h SET state = m.after FROM unnest($1::int8[], $2::int8[]) AS m (before, after)
WHERE h.state = m.before AND NOT EXISTS (
    SELECT 1 FROM kedge.heads o WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
) RETURNING 1;

-- name: move_heads
UPDATE kedge.heads h SET state = m.after FROM unnest($1::int8[], $2::int8[]) AS m (before, after)
WHERE h.state = m.before RETURNING 1;

-- name: move_rows
UPDATE kedge.row_states r SET state = m.after FROM unnest($1::int8[], $2::int8[]) AS m (before, after)
WHERE r.state = m.before RETURNING 1;

-- name: move_counts
-- In one lane: the transaction holds all.
WITH moved AS (
    DELETE FROM kedge.state_counts c USING unnest($1::int8[], $2::int8[]) AS m (before, after)
    WHERE c.state = m.before RETURNING c.embedding, m.after, c.rows
)
INSERT INTO kedge.state_counts (embedding, state, lane, rows)
SELECT embedding, after, $3::int8, sum(rows) FROM moved GROUP BY embedding, after
ON CONFLICT (embedding, state, lane) DO UPDATE SET rows = state_counts.rows + excluded.rows;

-- name: uncontest_newest_heads
-- Heads that nothing supersedes any more, since a purge has removed the newer ones.
UPDATE kedge.heads h SET state = p.id
FROM kedge.states c JOIN kedge.states p ON p.lineage = c.lineage AND p.superseders = '[]'
WHERE c.superseders NOT IN ('[]', '[0]') AND h.state = c.id AND NOT EXISTS (
    SELECT 1 FROM kedge.heads o WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
);
