-- name: secrets
SELECT name, value FROM meta WHERE name IN ('database_id', 'header_key');

-- name: meta
SELECT value FROM meta WHERE name = ?;

-- name: meta_put
INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?);

-- name: meta_drop
DELETE FROM meta WHERE name = ?;

-- name: marks
SELECT (SELECT count(*) FROM control_log WHERE kind = 'purge'),
    (SELECT count(*) FROM control_log WHERE kind = 'purge:erased'),
    (SELECT coalesce(sum(packing), 0) FROM segments);

-- name: last_seq
SELECT max(coalesce((SELECT max(seq) FROM writes), 0), coalesce((SELECT max(seq) FROM control_log), 0));

-- name: record
SELECT epoch, record FROM control;

-- name: replace
UPDATE control SET epoch = ?1, record = ?2 WHERE epoch = ?1 - 1;

-- name: tables
SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\';

-- name: seals
SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'moved\_%' ESCAPE '\';

-- name: segments
SELECT id, dim, rows, packing, gone FROM segments;

-- name: writes
-- Purged writes have no vector, though their row is still in the file.
SELECT w.seq, w.space, w.name, w.lineage, w.rank, w.deleted, w.source, w.provenance, w.turn, w.at, w.fresh_for,
    w.digest, w.salt, w.payload, v.segment, v.row
FROM writes w LEFT JOIN vector_rows v
    ON w.salt IS NOT NULL AND v.space = w.space AND v.name = w.name AND v.rank = w.rank AND v.seq = w.seq
WHERE w.seq > ? AND w.seq <= ? ORDER BY w.seq LIMIT ?;

-- name: count_writes
SELECT count(*) FROM writes;

-- name: last_write
SELECT seq, digest FROM writes ORDER BY seq DESC LIMIT 1;

-- name: rows
SELECT v.segment, v.seq, v.state, v.row FROM vector_rows v JOIN writes w ON w.seq = v.seq
WHERE w.salt IS NOT NULL ORDER BY v.segment, v.row;

-- name: embeddings
SELECT id, collection, space, dim FROM segments ORDER BY id;

-- name: embedding_put
INSERT OR IGNORE INTO segments (id, collection, space, dim, rows) VALUES (?, ?, ?, ?, 0);

-- name: segment
SELECT dim, rows FROM segments WHERE id = ?;

-- name: grow
UPDATE segments SET rows = rows + ? WHERE id = ?;

-- name: row_insert
INSERT INTO vector_rows (segment, row, seq, space, name, rank, state) VALUES (?, ?, ?, ?, ?, ?, 0);

-- name: numbers
SELECT seq, row FROM vector_rows WHERE segment = ? ORDER BY row;

-- name: row_state
UPDATE vector_rows SET state = ? WHERE segment = ? AND row = ?;

-- name: rows_without_state
SELECT count(*) FROM vector_rows WHERE state = 0;

-- name: above
-- All writes to keys of vectors, the newest of each key first, with their rows.
SELECT w.space, w.name, w.seq, w.lineage, v.segment, v.row
FROM writes w LEFT JOIN vector_rows v
    ON v.space = w.space AND v.name = w.name AND v.rank = w.rank AND v.seq = w.seq
WHERE w.space IN (SELECT id FROM spaces WHERE store = 'vectors')
ORDER BY w.space, w.name, w.rank DESC, w.seq DESC;

-- name: supersede_insert
INSERT INTO supersedes (seq, segment, row, lineage) VALUES (?, ?, ?, ?);

-- name: count_arrived
INSERT INTO meta (name, value)
SELECT 'arrived_entries', (SELECT count(*) FROM writes) + (SELECT count(*) FROM control_log);

-- name: reclaimed
SELECT collection, max(reclaimed) FROM segments GROUP BY collection HAVING max(reclaimed) > 0;

-- name: reclaimed_put
UPDATE segments SET reclaimed = ? WHERE collection = ?;

-- name: pruned
SELECT value FROM meta WHERE name = 'pruned';

-- name: control_put
INSERT INTO control (id, epoch, record) VALUES (1, ?, ?);
