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

-- name: rows_to_supersede
-- Rows below the rank of the lineage's last write before a write of this batch were superseded by that one already.
SELECT v.segment, v.row, v.state, v.rank, v.seq, w.seq
FROM writes w NOT INDEXED
CROSS JOIN vector_rows v INDEXED BY vector_rows_by_key
ON v.space = w.space AND v.name = w.name AND v.rank <= w.rank AND v.rank >= coalesce(
    (SELECT max(p.rank) FROM writes p INDEXED BY writes_by_key
     WHERE p.space = w.space AND p.name = w.name AND p.lineage = w.lineage AND p.rank <= w.rank AND p.seq < w.seq), 0)
WHERE w.seq BETWEEN ?1 AND ?2 AND (v.rank < w.rank OR v.seq < w.seq) AND NOT EXISTS (
    SELECT 1 FROM writes p INDEXED BY writes_by_key
    WHERE p.space = w.space AND p.name = w.name AND p.lineage = w.lineage AND p.rank = v.rank
      AND p.seq > v.seq AND p.seq < w.seq)
ORDER BY w.seq;

-- name: lineages_above
SELECT DISTINCT lineage FROM writes INDEXED BY writes_by_key WHERE space = ?1 AND name = ?2 AND rank > ?3 AND seq < ?4;

-- name: supersede_insert
INSERT OR IGNORE INTO supersedes (seq, segment, row, lineage) VALUES (?, ?, ?, ?);

-- name: rows_from
SELECT row, seq, state FROM vector_rows WHERE segment = ? AND row >= ? ORDER BY row;

-- name: row_seq
SELECT seq FROM vector_rows WHERE segment = ? AND row = ?;

-- name: write_digest
SELECT digest FROM writes WHERE seq = ?;

-- name: covers
-- The heads of a key from before a batch: rows below one of them are superseded by its lineage.
SELECT rank, seq, lineage FROM heads WHERE space = ? AND name = ? AND seq < ?;

-- name: changed_after
SELECT s.row, v.state, s.seq, s.lineage FROM supersedes s
JOIN vector_rows v ON v.segment = s.segment AND v.row = s.row
WHERE s.segment = ? AND s.seq > ?;

-- name: superseded_upto
SELECT json_group_array(row), json_group_array(lineage) FROM supersedes WHERE segment = ? AND seq <= ?;

-- name: last_change
SELECT coalesce(max(seq), 0) FROM supersedes WHERE segment = ?;

-- name: supersedes_upto
SELECT row, lineage FROM supersedes WHERE segment = ? AND seq <= ?;

-- name: locate
SELECT asked.key, v.row, s.id, s.dim, s.rows, s.packing, s.gone
FROM json_each(?) asked
CROSS JOIN writes w ON w.seq = asked.value
CROSS JOIN vector_rows v INDEXED BY vector_rows_by_key
ON v.space = w.space AND v.name = w.name AND v.rank = w.rank AND v.seq = w.seq
CROSS JOIN segments s ON s.id = v.segment
ORDER BY s.id;

-- name: payloads
SELECT w.seq, w.name, w.lineage, w.rank, w.source, w.at, w.fresh_for, w.payload
FROM writes w WHERE w.seq IN (SELECT value FROM json_each(?));

-- name: written
SELECT seq, name, lineage, rank FROM writes WHERE seq IN (SELECT value FROM json_each(?));

-- name: payloads_only
SELECT payload FROM writes WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq;

-- name: collection_insert
INSERT OR IGNORE INTO collections (name, dim, metric, embedder, at) VALUES (?, ?, ?, ?, ?);

-- name: collection_fields
UPDATE collections SET fields = ? WHERE name = ?;

-- name: collection
SELECT name, dim, metric, embedder, fields FROM collections WHERE name = ?;

-- name: collections
SELECT name, dim, metric, embedder, fields FROM collections ORDER BY name;

-- name: rows_of_lineages
SELECT v.segment, v.row FROM vector_rows v JOIN states s ON s.id = v.state
WHERE s.lineage IN (SELECT value FROM json_each(?));
