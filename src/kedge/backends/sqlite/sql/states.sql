-- name: state_find
SELECT id, retired FROM states WHERE lineage = ? AND superseders = ?;

-- name: state
SELECT lineage, superseders FROM states WHERE id = ?;

-- name: states_of
SELECT count(*) FROM states WHERE lineage = ?;

-- name: state_insert
INSERT INTO states (lineage, superseders) VALUES (?, ?) RETURNING id;

-- name: states_by_id
SELECT id, lineage, superseders FROM states WHERE id IN (SELECT value FROM json_each(?));

-- name: plain_states
SELECT s.id, s.lineage, s.superseders
FROM json_each(?) l CROSS JOIN states s ON s.lineage = l.value AND s.superseders = '[]';

-- name: states_of_heads
-- The distinct states of a space's heads, by seeks: the cost does not grow with the rows in each.
WITH RECURSIVE found (state) AS (
    SELECT min(state) FROM heads INDEXED BY heads_by_state WHERE space = ?1
    UNION ALL
    SELECT (SELECT min(h.state) FROM heads h INDEXED BY heads_by_state WHERE h.space = ?1 AND h.state > found.state)
    FROM found WHERE found.state IS NOT NULL
)
SELECT state FROM found WHERE state IS NOT NULL;

-- name: unused
-- States that no head and no vector row is in, without those that each lineage has, and without the greatest id, which
-- SQLite would give to the next state again.
SELECT id, retired FROM states
WHERE superseders NOT IN ('[]', '[0]', 'null') AND id < (SELECT max(id) FROM states)
  AND id NOT IN (SELECT state FROM heads) AND id NOT IN (SELECT state FROM vector_rows);

-- name: delete
DELETE FROM states WHERE id IN (SELECT value FROM json_each(?));

-- name: retire
UPDATE states SET retired = 1 WHERE id IN (SELECT value FROM json_each(?));

-- name: states_with_several
SELECT id FROM states WHERE superseders LIKE '%,%' ORDER BY id;

-- name: announce
INSERT OR IGNORE INTO states (lineage, superseders) VALUES (0, ?);

-- name: move_newest_heads
UPDATE heads SET state = m.value ->> 1 FROM json_each(?) m
WHERE m.value ->> 0 = heads.state AND NOT EXISTS (
    SELECT 1 FROM heads o
    WHERE o.space = heads.space AND o.name = heads.name AND (o.rank, o.seq) > (heads.rank, heads.seq)
);

-- name: move_heads
UPDATE heads SET state = m.value ->> 1 FROM json_each(?) m WHERE m.value ->> 0 = heads.state;

-- name: move_rows
UPDATE vector_rows SET state = m.value ->> 1 FROM json_each(?) m WHERE m.value ->> 0 = vector_rows.state;

-- name: uncontest_newest_heads
-- Heads that nothing supersedes any more, since a purge has removed the newer ones.
UPDATE heads SET state = (SELECT p.id FROM states p WHERE p.lineage = heads.lineage AND p.superseders = '[]')
WHERE state IN (SELECT id FROM states WHERE superseders NOT IN ('[]', '[0]')) AND NOT EXISTS (
    SELECT 1 FROM heads o
    WHERE o.space = heads.space AND o.name = heads.name AND (o.rank, o.seq) > (heads.rank, heads.seq)
);
