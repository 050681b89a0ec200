-- name: segment
SELECT id, rows, dim, packing, gone FROM segments WHERE collection = ? AND space = ?;

-- name: segments
SELECT id, space, dim, rows, packing, gone FROM segments WHERE collection = ? ORDER BY id;

-- name: segment_insert
INSERT INTO segments (collection, space, dim, rows) VALUES (?, ?, ?, 0) RETURNING id;

-- name: segment_grow
UPDATE segments SET rows = rows + ? WHERE id = ?;

-- name: row_insert
INSERT INTO vector_rows (segment, row, seq, space, name, rank, state) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: row_state
UPDATE vector_rows SET state = ? WHERE segment = ? AND row = ?;

-- name: names_with_rows
SELECT DISTINCT name FROM vector_rows WHERE space = ? AND name IN (SELECT value FROM json_each(?));

-- name: rank_of_last
-- Rows below the rank of the lineage's last write before this one were superseded by it already.
SELECT max(rank) FROM writes INDEXED BY writes_by_key
WHERE space = ?1 AND name = ?2 AND lineage = ?3 AND rank <= ?4 AND seq < ?5;

-- name: rows_to_supersede
SELECT segment, row, state FROM vector_rows INDEXED BY vector_rows_by_key
WHERE space = ?1 AND name = ?2 AND rank >= ?3 AND (rank < ?4 OR (rank = ?4 AND seq < ?5));

-- name: lineages_above
SELECT DISTINCT lineage FROM writes INDEXED BY writes_by_key WHERE space = ?1 AND name = ?2 AND rank > ?3 AND seq < ?4;

-- name: supersede_insert
INSERT OR IGNORE INTO supersedes (seq, segment, row, lineage) VALUES (?, ?, ?, ?);

-- name: state
SELECT lineage, superseders FROM states WHERE id = ?;

-- name: rows_from
SELECT row, seq, state FROM vector_rows WHERE segment = ? AND row >= ? ORDER BY row;

-- name: changed_after
SELECT s.row, v.state, s.seq FROM supersedes s
JOIN vector_rows v ON v.segment = s.segment AND v.row = s.row
WHERE s.segment = ? AND s.seq > ?;

-- name: last_change
SELECT coalesce(max(seq), 0) FROM supersedes WHERE segment = ?;

-- name: supersedes_upto
SELECT row, lineage FROM supersedes WHERE segment = ? AND seq <= ?;

-- name: locate
SELECT v.segment, v.row, s.dim, s.packing, s.gone FROM vector_rows v JOIN segments s ON s.id = v.segment
WHERE v.space = ? AND v.name = ? AND v.rank = ? AND v.seq = ?;

-- name: payloads
SELECT w.seq, w.name, w.lineage, w.rank, w.source, w.at, w.fresh_for, w.payload
FROM writes w WHERE w.seq IN (SELECT value FROM json_each(?));

-- name: collection_insert
INSERT OR IGNORE INTO collections (name, dim, metric, embedder, at) VALUES (?, ?, ?, ?, ?);

-- name: collection
SELECT name, dim, metric, embedder FROM collections WHERE name = ?;

-- name: collections
SELECT name, dim, metric, embedder FROM collections ORDER BY name;

-- name: rows_of_lineages
SELECT v.segment, v.row FROM vector_rows v JOIN states s ON s.id = v.state
WHERE s.lineage IN (SELECT value FROM json_each(?));
