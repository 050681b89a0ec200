-- name: last_seq
SELECT max(coalesce((SELECT max(seq) FROM writes), 0), coalesce((SELECT max(seq) FROM control_log), 0));

-- name: count_entries
SELECT (SELECT count(*) FROM writes) + (SELECT count(*) FROM control_log);

-- name: entries
SELECT seq, at, 1 FROM writes WHERE seq BETWEEN ?1 AND ?2
UNION ALL
SELECT seq, at, 0 FROM control_log WHERE seq BETWEEN ?1 AND ?2
ORDER BY 1;

-- name: spaces
SELECT id, store, space FROM spaces;

-- name: schema
SELECT type || ' ' || name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY 1;

-- name: writes
SELECT w.seq, w.space, w.name, w.lineage, w.rank, w.deleted, w.source, w.provenance,
       w.turn, t.id IS NOT NULL, w.digest, w.salt, w.payload
FROM writes w LEFT JOIN turns t ON t.id = w.turn
WHERE w.seq BETWEEN ? AND ? ORDER BY w.seq;

-- name: policies
SELECT detail FROM control_log WHERE kind = 'retention';

-- name: lineages_above
SELECT DISTINCT lineage FROM writes INDEXED BY writes_by_key WHERE space = ? AND name = ? AND (rank, seq) > (?, ?);

-- name: vector_place
SELECT segment, row FROM vector_rows WHERE space = ? AND name = ? AND rank = ? AND seq = ?;

-- name: write_now
SELECT salt FROM writes WHERE seq = ?;

-- name: keys_between
SELECT DISTINCT space, name FROM writes WHERE seq BETWEEN ? AND ?;

-- name: writes_by_key
SELECT space, name, lineage, rank, seq, deleted FROM writes INDEXED BY writes_by_key ORDER BY space, name;

-- name: writes_of_key
SELECT space, name, lineage, rank, seq, deleted FROM writes INDEXED BY writes_by_key WHERE space = ? AND name = ?;

-- name: heads_by_key
SELECT space, name, lineage, rank, seq, deleted, state FROM heads ORDER BY space, name;

-- name: heads_of_key
SELECT space, name, lineage, rank, seq, deleted, state FROM heads WHERE space = ? AND name = ?;

-- name: counters
SELECT space, lineage, puts, deletes FROM counters;

-- name: true_counters
SELECT space, lineage, count(*) - sum(deleted), sum(deleted) FROM writes GROUP BY space, lineage;

-- name: rows_by_key
SELECT space, name, rank, seq, segment, row, state FROM vector_rows INDEXED BY vector_rows_by_key ORDER BY space, name;

-- name: rows_of_key
SELECT space, name, rank, seq, segment, row, state FROM vector_rows INDEXED BY vector_rows_by_key
WHERE space = ? AND name = ?;

-- name: supersedes_of_row
SELECT lineage, seq FROM supersedes WHERE segment = ? AND seq = ? AND row = ?;

-- name: supersedes_by_row
SELECT segment, row, lineage, seq FROM supersedes;

-- name: states
SELECT id, lineage, superseders FROM states;

-- name: segments
SELECT s.id, s.collection, s.space, s.dim, s.rows, s.packing, s.gone, c.metric
FROM segments s LEFT JOIN collections c ON c.name = s.collection;

-- name: segment_rows
SELECT row, seq, name FROM vector_rows WHERE segment = ? ORDER BY row;

-- name: segment_extent
SELECT count(*), min(row), max(row) FROM vector_rows WHERE segment = ? AND row >= ?;

-- name: rows_below
SELECT row FROM vector_rows WHERE segment = ? AND row < ?;

-- name: packing_now
SELECT packing FROM segments WHERE id = ?;

-- name: reclaimed
SELECT coalesce(max(reclaimed), 0) FROM segments WHERE collection = ?;

-- name: pruned
SELECT value FROM meta WHERE name = 'pruned';

-- name: snapshot_seqs
SELECT DISTINCT seq FROM snapshots ORDER BY seq;

-- name: rows_without_segment
SELECT DISTINCT segment FROM vector_rows WHERE segment NOT IN (SELECT id FROM segments);

-- name: lineages
SELECT id, members FROM lineages ORDER BY id;

-- name: lineage_members
SELECT lineage, number FROM lineage_members ORDER BY lineage, number;

-- name: control
SELECT epoch, record FROM control;

-- name: log
SELECT seq, epoch, operation, kind, detail, record FROM control_log ORDER BY seq;

-- name: deployments
SELECT number, name, kind, digest, manifest FROM deployments ORDER BY number;

-- name: versions
SELECT name, version, digest FROM artifact_versions;

-- name: snapshots
SELECT name, seq, epoch, deployment,
       (SELECT max(epoch) FROM control_log WHERE record IS NOT NULL AND control_log.seq <= snapshots.seq)
FROM snapshots;

-- name: sessions
SELECT s.session, s.generation, s.base, s.seq, s.epoch, s.at, l.epoch, l.at, l.operation
FROM sessions s LEFT JOIN control_log l ON l.seq = s.seq AND l.kind = 'session'
ORDER BY s.session, s.generation;

-- name: session_entries
SELECT seq, operation FROM control_log WHERE kind = 'session' AND seq NOT IN (SELECT seq FROM sessions);

-- name: turns
SELECT t.uid, t.lineage FROM turns t WHERE t.lineage NOT IN (SELECT id FROM lineages);

-- name: turns_seen
SELECT t.uid, t.seen FROM turns t WHERE t.seen IS NOT NULL AND t.seen NOT IN (SELECT id FROM seen_sets);

-- name: turns_session
SELECT t.uid, t.session FROM turns t WHERE t.session GLOB char(16) || '#*'
  AND NOT EXISTS (SELECT 1 FROM session_names n WHERE t.session = char(16) || '#' || n.id);

-- name: seen_sets
SELECT id, members FROM seen_sets ORDER BY id;

-- name: came
SELECT json_extract(CAST(s.value AS TEXT), '$.seq'), CAST(e.value AS INTEGER)
FROM meta s JOIN meta e ON e.name = 'arrived_entries' WHERE s.name = 'arrived';

-- name: idempotency
SELECT i.key, i.seq, i.count, count(w.seq), count(DISTINCT w.turn), i.lineage IN (SELECT id FROM lineages)
FROM idempotency i LEFT JOIN writes w ON w.seq BETWEEN i.seq AND coalesce(json_extract(i.seqs, '$[#-1]'), i.seq + i.count - 1)
    AND (i.seqs IS NULL OR w.seq IN (SELECT value FROM json_each(i.seqs)))
GROUP BY i.key, i.seq;

-- name: reads
SELECT r.turn, r.before_seq, r.reads, t.id IS NOT NULL FROM reads r LEFT JOIN turns t ON t.id = r.turn;

-- name: edges
SELECT e.id, e.turn, t.id IS NOT NULL, e.lineage IN (SELECT id FROM lineages)
FROM edges e LEFT JOIN turns t ON t.uid = e.turn;

-- name: replayed
SELECT r.seq, w.source, t.id IS NOT NULL OR r.turn = 0
FROM replayed r LEFT JOIN writes w ON w.seq = r.seq LEFT JOIN turns t ON t.id = r.turn;

-- name: observations
SELECT id, metric, value, seen, lineage IN (SELECT id FROM lineages) FROM observations;

-- name: cache
SELECT hex(key), lineage IN (SELECT id FROM lineages), bytes = length(payload) FROM cache;

-- name: cache_size
SELECT s.bytes, coalesce((SELECT sum(bytes) FROM cache), 0) FROM cache_size s;

-- name: settled_at
SELECT d.number, l.seq FROM control_log l JOIN deployments d ON d.name = l.deployment WHERE l.kind = 'settle';
