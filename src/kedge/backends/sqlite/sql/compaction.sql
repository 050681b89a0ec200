-- name: extent
SELECT rows, dim, packing, gone, collection, space, reclaimed FROM segments WHERE id = ?;

-- name: packing
SELECT below, kept FROM packings WHERE segment = ?;

-- name: packings
SELECT id, packing FROM segments;

-- name: packing_of
SELECT packing FROM segments WHERE id = ?;

-- name: reclaimed
SELECT coalesce(max(reclaimed), 0) FROM segments WHERE collection = ?;

-- name: sources
SELECT v.seq FROM vector_rows v JOIN writes w ON w.seq = v.seq WHERE v.segment = ? AND w.source;

-- name: is_snapshot
SELECT 1 FROM snapshots WHERE seq = ?;

-- name: metric
SELECT metric FROM collections WHERE name = ?;

-- name: rows
SELECT row, seq, state FROM vector_rows WHERE segment = ? ORDER BY row;

-- name: log
SELECT row, seq, lineage FROM supersedes WHERE segment = ?;

-- name: swap
UPDATE segments SET packing = packing + 1, rows = rows - ?2, gone = gone + ?2, reclaimed = max(reclaimed, ?3)
WHERE id = ?1;

-- name: packing_insert
INSERT OR REPLACE INTO packings (segment, below, kept, cleared) VALUES (?, ?, ?, 0);

-- name: numbers_below
SELECT row FROM vector_rows WHERE segment = ? AND row < ?;

-- name: row_delete
DELETE FROM vector_rows WHERE segment = ? AND row = ?;

-- name: log_delete
DELETE FROM supersedes WHERE segment = ? AND row = ? AND seq = ? AND lineage = ?;

-- name: cleared
UPDATE packings SET cleared = 1 WHERE segment = ?1 AND ?2 = (SELECT packing FROM segments WHERE id = ?1);

-- name: is_cleared
SELECT cleared FROM packings WHERE segment = ?;

-- name: large
SELECT s.id, s.rows, coalesce(p.cleared, 1) FROM segments s LEFT JOIN packings p ON p.segment = s.id
WHERE s.rows >= ? OR p.cleared = 0;

-- name: log_length
SELECT count(*) FROM supersedes WHERE segment = ?;

-- name: of_collection
SELECT id FROM segments WHERE collection = ? ORDER BY id;
