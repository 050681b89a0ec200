-- name: true_writes
SELECT w.lineage, w.rank, w.seq, w.deleted, w.source, w.at, w.fresh_for, w.payload, l.members
FROM writes w JOIN lineages l ON l.id = w.lineage
WHERE w.space = (SELECT id FROM spaces WHERE store = ? AND space = ?) AND w.name = ?;

-- name: last_write
SELECT coalesce(max(seq), 0) FROM writes;

-- name: key_near
SELECT s.store, s.space, w.name FROM writes w JOIN spaces s ON s.id = w.space WHERE w.seq >= ? ORDER BY w.seq LIMIT 1;

-- name: segments
SELECT id, rows + gone FROM segments WHERE rows > 0;

-- name: row_near
SELECT v.seq, v.state, v.name, s.space FROM vector_rows v JOIN spaces s ON s.id = v.space
WHERE v.segment = ? AND v.row >= ? ORDER BY v.row LIMIT 1;
