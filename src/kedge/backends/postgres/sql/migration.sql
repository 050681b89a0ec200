-- name: secrets
SELECT name, value FROM kedge.meta WHERE name IN ('database_id', 'header_key', 'pruned');

-- name: reclaimed
SELECT c.name, max(convert_from(m.value, 'UTF8')::int8)
FROM kedge.collections c JOIN kedge.meta m ON m.name IN ('reclaimed', 'reclaimed:' || c.name) GROUP BY c.name;

-- name: meta
SELECT value FROM kedge.meta WHERE name = $1;

-- name: meta_put
INSERT INTO kedge.meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: meta_drop
DELETE FROM kedge.meta WHERE name = $1;

-- name: marks
SELECT count(*) FILTER (WHERE kind = 'purge'), count(*) FILTER (WHERE kind = 'purge:erased') FROM kedge.control_log;

-- name: last_seq
SELECT greatest(
    coalesce((SELECT max(seq) FROM kedge.writes), 0), coalesce((SELECT max(seq) FROM kedge.control_log), 0)
);

-- name: record
SELECT epoch, record FROM kedge.control;

-- name: replace
UPDATE kedge.control SET epoch = $1, record = $2 WHERE epoch = $1 - 1;

-- name: tables
SELECT tablename FROM pg_tables WHERE schemaname = 'kedge' AND tablename NOT IN ('lanes', 'schema_version') ORDER BY 1;

-- name: refuse
CREATE FUNCTION kedge.refuse_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', (SELECT convert_from(value, 'UTF8') FROM kedge.meta WHERE name = 'moved')
    USING ERRCODE = 'KM001';
END $$;

-- name: embeddings
SELECT id, collection, space, dim FROM kedge.embeddings ORDER BY id;

-- name: writes
-- As many as have fewer than so many bytes ($4) before them: of large values, one. Their lengths cost no reading.
SELECT w.seq, w.space, w.name, w.lineage, w.rank, w.deleted, w.source, w.provenance, w.turn, w.at, w.fresh_for,
    w.digest, w.salt, w.payload, v.embedding, v.vector
FROM (
    SELECT seq, sum(length(payload)) OVER (ORDER BY seq) - coalesce(length(payload), 0) AS before
    FROM kedge.writes WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3
) n JOIN kedge.writes w ON w.seq = n.seq LEFT JOIN kedge.vector_rows v ON v.seq = w.seq
WHERE n.before IS NULL OR n.before < $4 ORDER BY w.seq;

-- name: count_writes
SELECT count(*) FROM kedge.writes;

-- name: last_write
SELECT seq, digest FROM kedge.writes ORDER BY seq DESC LIMIT 1;

-- name: idempotency
SELECT key, seqs, lineage FROM kedge.idempotency ORDER BY key, seqs;

-- name: counters
SELECT space, lineage, sum(puts)::int8, sum(deletes)::int8 FROM kedge.counters
GROUP BY space, lineage ORDER BY space, lineage;

-- name: rows
SELECT embedding, seq, state FROM kedge.row_states ORDER BY embedding, seq;

-- name: hold_lanes
SELECT id FROM kedge.lanes ORDER BY id FOR UPDATE;

-- name: hold_arriving
SELECT value FROM kedge.meta WHERE name = 'arriving' FOR UPDATE;

-- name: embedding_put
INSERT INTO kedge.embeddings (id, collection, space, dim, is_plain) VALUES ($1, $2, $3, $4, TRUE)
ON CONFLICT DO NOTHING;

-- name: not_plain
UPDATE kedge.embeddings SET is_plain = FALSE WHERE id = $1;

-- name: lineage_members
INSERT INTO kedge.lineage_members (number, lineage)
SELECT number::int8, l.id FROM kedge.lineages l CROSS JOIN LATERAL jsonb_array_elements_text(l.members::jsonb) AS number;

-- name: state_counts
INSERT INTO kedge.state_counts (embedding, state, lane, rows)
SELECT embedding, state, 0, count(*) FROM kedge.row_states GROUP BY embedding, state;

-- name: rows_without_state
SELECT count(*) FROM kedge.vector_rows v FULL JOIN kedge.row_states s ON s.seq = v.seq
WHERE v.seq IS NULL OR s.seq IS NULL;

-- name: draw_on
-- The sequences continue after the imported ids.
SELECT setval(pg_get_serial_sequence('kedge.lineages', 'id'), (SELECT greatest(max(id), 1) FROM kedge.lineages)),
    setval(pg_get_serial_sequence('kedge.spaces', 'id'), (SELECT greatest(max(id), 1) FROM kedge.spaces)),
    setval(pg_get_serial_sequence('kedge.seen_sets', 'id'), (SELECT greatest(max(id), 1) FROM kedge.seen_sets)),
    setval(pg_get_serial_sequence('kedge.session_names', 'id'), (SELECT greatest(max(id), 1) FROM kedge.session_names)),
    setval(pg_get_serial_sequence('kedge.turns', 'id'), (SELECT greatest(max(id), 1) FROM kedge.turns)),
    setval(pg_get_serial_sequence('kedge.edges', 'id'), (SELECT greatest(max(id), 1) FROM kedge.edges)),
    setval(pg_get_serial_sequence('kedge.observations', 'id'), (SELECT greatest(max(id), 1) FROM kedge.observations)),
    setval(pg_get_serial_sequence('kedge.embeddings', 'id'), (SELECT greatest(max(id), 1) FROM kedge.embeddings)),
    setval('kedge.state_ids', (SELECT greatest(max(id), 1) FROM kedge.states)),
    setval('kedge.seqs', $1);

-- name: control_put
INSERT INTO kedge.control (id, epoch, record) VALUES (1, $1, $2);
