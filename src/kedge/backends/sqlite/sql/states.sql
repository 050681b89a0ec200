-- name: state_find
SELECT id FROM states WHERE lineage = ? AND superseders = ?;

-- name: state_insert
INSERT INTO states (lineage, superseders) VALUES (?, ?) RETURNING id;

-- name: states_after
SELECT id, lineage, superseders FROM states WHERE id > ? ORDER BY id;
