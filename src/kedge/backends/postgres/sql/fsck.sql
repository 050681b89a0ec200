-- name: last_seq
SELECT greatest(
    coalesce((SELECT max(seq) FROM kedge.writes), 0), coalesce((SELECT max(seq) FROM kedge.control_log), 0)
);

-- name: reclaimed
SELECT c.name, max(convert_from(m.value, 'UTF8')::int8)
FROM kedge.collections c JOIN kedge.meta m ON m.name IN ('reclaimed', 'reclaimed:' || c.name) GROUP BY c.name;

-- name: spaces
SELECT id, store, space FROM kedge.spaces;

-- name: lineages
SELECT id, members FROM kedge.lineages ORDER BY id;

-- name: seen_sets
SELECT id, members FROM kedge.seen_sets ORDER BY id;

-- name: lineage_members
SELECT lineage, array_agg(number ORDER BY number) FROM kedge.lineage_members GROUP BY lineage;

-- name: states
SELECT id, lineage, superseders FROM kedge.states ORDER BY id;

-- name: control
SELECT epoch, record FROM kedge.control;

-- name: min_writer
SELECT value FROM kedge.meta WHERE name = 'min_writer';

-- name: log
SELECT seq, epoch, operation, kind, detail, record FROM kedge.control_log ORDER BY seq;

-- name: deployments
SELECT number, name, kind, digest, manifest FROM kedge.deployments ORDER BY number;

-- name: versions
SELECT name, version, digest FROM kedge.artifact_versions;

-- name: sessions
SELECT session, generation, base FROM kedge.sessions ORDER BY session, generation;

-- name: read_logs
SELECT turn, before_seq, reads FROM kedge.reads WHERE before_seq BETWEEN $1 AND $2;

-- name: writes
-- As many as have fewer than so many bytes ($3) before them: of large values, one.
SELECT w.seq, w.space, w.name, w.lineage, w.deleted, w.digest, w.salt, w.payload, v.vector
FROM (
    SELECT seq, sum(length(payload)) OVER (ORDER BY seq) - coalesce(length(payload), 0) AS before
    FROM kedge.writes WHERE seq BETWEEN $1 AND $2
) n JOIN kedge.writes w ON w.seq = n.seq LEFT JOIN kedge.vector_rows v ON v.seq = w.seq
WHERE n.before IS NULL OR n.before < $3 ORDER BY w.seq;

-- name: policies
SELECT detail FROM kedge.control_log WHERE kind = 'retention';

-- name: lineages_above
-- Of the writes of these seqs, those without content: the lineages of what was written to their keys above them.
SELECT w.seq, array_agg(DISTINCT o.lineage) FROM kedge.writes w
JOIN kedge.writes o ON o.space = w.space AND o.name = w.name AND (o.rank, o.seq) > (w.rank, w.seq)
WHERE w.seq BETWEEN $1 AND $2 AND w.salt IS NULL GROUP BY w.seq;

-- name: keys
SELECT DISTINCT space, name FROM kedge.writes WHERE seq BETWEEN $1 AND $2 ORDER BY space, name;

-- name: writes_of_keys
SELECT w.space, w.name, w.lineage, w.rank, w.seq, w.deleted
FROM kedge.writes w JOIN unnest($1::int8[], $2::text[]) AS k (space, name) ON k.space = w.space AND k.name = w.name;

-- name: heads_of_keys
SELECT h.space, h.name, h.lineage, h.rank, h.seq, h.deleted, h.state
FROM kedge.heads h JOIN unnest($1::int8[], $2::text[]) AS k (space, name) ON k.space = h.space AND k.name = h.name;

-- name: rows_of_keys
SELECT v.space, v.name, v.lineage, v.rank, v.seq, v.embedding, s.embedding, s.state
FROM kedge.vector_rows v JOIN unnest($1::int8[], $2::text[]) AS k (space, name) ON k.space = v.space AND k.name = v.name
LEFT JOIN kedge.row_states s ON s.seq = v.seq;

-- name: check_journal_seq_taken_twice
SELECT 'control_log seq ' || l.seq, 'the seq is that of a write, too'
FROM kedge.control_log l JOIN kedge.writes w ON w.seq = l.seq;

-- name: check_journal_seq_not_drawn
SELECT 'writes seq ' || w.seq, 'the sequence has not come as far as this'
FROM kedge.writes w WHERE w.seq > (SELECT last_value FROM kedge.seqs);

-- name: check_lanes_are_there
SELECT 'lanes', count(*) || ' of 64 lanes are there' FROM kedge.lanes WHERE id BETWEEN 0 AND 63 HAVING count(*) <> 64;

-- name: check_write_refers
SELECT 'writes seq ' || w.seq, concat_ws('; ',
    CASE WHEN s.id IS NULL THEN 'space ' || w.space || ' is not there' END,
    CASE WHEN l.id IS NULL THEN 'lineage ' || w.lineage || ' is not in the lineage table' END,
    CASE WHEN p.id IS NULL THEN 'provenance ' || w.provenance || ' is not in the lineage table' END,
    CASE WHEN t.id IS NULL AND (w.seq > g.reads OR (w.salt IS NOT NULL AND NOT w.deleted))
        THEN 'turn ' || w.turn || ' is not in the table of turns' END,
    CASE WHEN w.source AND w.lineage <> 0 THEN 'a source write has lineage ' || w.lineage || ', not 0' END,
    CASE WHEN NOT w.source AND w.provenance <> w.lineage THEN 'a derived write has provenance ' || w.provenance END,
    CASE WHEN w.rank NOT BETWEEN 1 AND w.seq THEN 'its rank ' || w.rank || ' is not from 1 to its seq' END)
FROM kedge.writes w
LEFT JOIN kedge.spaces s ON s.id = w.space LEFT JOIN kedge.lineages l ON l.id = w.lineage
LEFT JOIN kedge.lineages p ON p.id = w.provenance LEFT JOIN kedge.turns t ON t.id = w.turn
CROSS JOIN (
    SELECT coalesce(max((convert_from(value, 'UTF8')::json ->> 'reads')::int8), 0) AS reads
    FROM kedge.meta WHERE name = 'pruned'
) g
WHERE w.seq BETWEEN $1 AND $2 AND (
    s.id IS NULL OR l.id IS NULL OR p.id IS NULL
    OR (t.id IS NULL AND (w.seq > g.reads OR (w.salt IS NOT NULL AND NOT w.deleted))) OR (w.source AND w.lineage <> 0)
    OR (NOT w.source AND w.provenance <> w.lineage) OR w.rank NOT BETWEEN 1 AND w.seq);

-- name: check_counter_sums
SELECT 'space ' || coalesce(c.space, w.space) || ' lineage ' || coalesce(c.lineage, w.lineage),
    format('%s puts and %s deletes counted, %s and %s are there',
        coalesce(c.puts, 0), coalesce(c.deletes, 0), coalesce(w.puts, 0), coalesce(w.deletes, 0))
FROM (SELECT space, lineage, sum(puts) AS puts, sum(deletes) AS deletes FROM kedge.counters GROUP BY 1, 2) c
FULL JOIN (
    SELECT space, lineage, count(*) FILTER (WHERE NOT deleted) AS puts, count(*) FILTER (WHERE deleted) AS deletes
    FROM kedge.writes GROUP BY 1, 2
) w ON w.space = c.space AND w.lineage = c.lineage
WHERE (coalesce(c.puts, 0), coalesce(c.deletes, 0)) <> (coalesce(w.puts, 0), coalesce(w.deletes, 0));

-- name: check_counter_states
SELECT 'embedding ' || coalesce(c.embedding, s.embedding) || ' state ' || coalesce(c.state, s.state),
    format('%s vector rows counted, %s are there', coalesce(c.rows, 0), coalesce(s.rows, 0))
FROM (SELECT embedding, state, sum(rows) AS rows FROM kedge.state_counts GROUP BY 1, 2) c
FULL JOIN (SELECT embedding, state, count(*) AS rows FROM kedge.row_states GROUP BY 1, 2) s
    ON s.embedding = c.embedding AND s.state = c.state
WHERE coalesce(c.rows, 0) <> coalesce(s.rows, 0);

-- name: check_vector_rows
SELECT 'vector row seq ' || coalesce(v.seq, s.seq), CASE
    WHEN v.seq IS NULL THEN 'has a state and no row' WHEN s.seq IS NULL THEN 'has no state'
    WHEN w.seq IS NULL THEN 'belongs to no write' ELSE 'is not as its write says' END
FROM kedge.vector_rows v FULL JOIN kedge.row_states s ON s.seq = v.seq LEFT JOIN kedge.writes w ON w.seq = v.seq
WHERE v.seq IS NULL OR s.seq IS NULL OR w.seq IS NULL OR w.deleted OR v.embedding <> s.embedding
   OR (v.space, v.name, v.rank, v.lineage) <> (w.space, w.name, w.rank, w.lineage);

-- name: check_snapshot_point
SELECT 'snapshot ' || quote_literal(s.name), 'names seq ' || s.seq || ' at epoch ' || s.epoch || ', which was at epoch '
    || coalesce(e.epoch::text, 'none')
FROM kedge.snapshots s LEFT JOIN LATERAL (
    SELECT l.epoch FROM kedge.control_log l WHERE l.record IS NOT NULL AND l.seq <= s.seq ORDER BY l.seq DESC LIMIT 1
) e ON true
WHERE s.epoch IS DISTINCT FROM e.epoch;

-- name: check_session_entry
SELECT 'session ' || quote_literal(s.session) || ' generation ' || s.generation,
    'the control log has no such entry at seq ' || s.seq
FROM kedge.sessions s LEFT JOIN kedge.control_log l ON l.seq = s.seq
WHERE (l.epoch, l.at, l.operation) IS DISTINCT FROM (s.epoch, s.at, 'session:' || s.session || ':' || s.generation);

-- name: check_turn_lineage
SELECT 'turn ' || t.uid, 'lineage ' || t.lineage || ' is not in the lineage table'
FROM kedge.turns t LEFT JOIN kedge.lineages l ON l.id = t.lineage WHERE l.id IS NULL;

-- name: check_turn_seen
SELECT 'turn ' || t.uid, 'what it saw, set ' || t.seen || ', is not in the table of seen sets'
FROM kedge.turns t LEFT JOIN kedge.seen_sets s ON s.id = t.seen WHERE t.seen IS NOT NULL AND s.id IS NULL;

-- name: check_turn_session
SELECT 'turn ' || t.uid, 'its session ' || t.session || ' is not in the table of session names'
FROM kedge.turns t LEFT JOIN kedge.session_names n ON t.session = chr(16) || '#' || n.id
WHERE t.session LIKE chr(16) || '#%' AND n.id IS NULL;

-- name: check_reads_turn
SELECT 'reads of turn ' || r.turn || ' before seq ' || r.before_seq, 'the turn is not there'
FROM kedge.reads r LEFT JOIN kedge.turns t ON t.id = r.turn WHERE t.id IS NULL;

-- name: check_edge_refers
SELECT 'edge ' || e.id, 'its turn ' || e.turn || ' or its lineage is not there'
FROM kedge.edges e LEFT JOIN kedge.turns t ON t.uid = e.turn LEFT JOIN kedge.lineages l ON l.id = e.lineage
WHERE t.id IS NULL OR l.id IS NULL;

-- name: check_replayed_refers
SELECT 'seq ' || r.seq, 'is no source write, or was replayed for a turn that is not there'
FROM kedge.replayed r LEFT JOIN kedge.writes w ON w.seq = r.seq AND w.source LEFT JOIN kedge.turns t ON t.id = r.turn
CROSS JOIN (
    SELECT coalesce(max((convert_from(value, 'UTF8')::json ->> 'reads')::int8), 0) AS reads
    FROM kedge.meta WHERE name = 'pruned'
) g
WHERE w.seq IS NULL OR (t.id IS NULL AND r.turn <> 0 AND g.reads = 0);

-- name: check_idempotency_writes
SELECT 'key ' || quote_literal(i.key), 'its ' || cardinality(i.seqs) || ' writes are not those of one turn'
FROM kedge.idempotency i LEFT JOIN kedge.lineages l ON l.id = i.lineage
WHERE l.id IS NULL OR NOT (
    SELECT count(*) = cardinality(i.seqs) AND count(DISTINCT w.turn) <= 1 FROM kedge.writes w WHERE w.seq = ANY(i.seqs));

-- name: check_observation_lineage
SELECT 'sample ' || o.id, 'its lineage is not in the lineage table'
FROM kedge.observations o LEFT JOIN kedge.lineages l ON l.id = o.lineage WHERE l.id IS NULL;

-- name: check_cache_entry
SELECT 'entry of ' || c.at, 'its lineage is not there, or its size is not as counted'
FROM kedge.cache c LEFT JOIN kedge.lineages l ON l.id = c.lineage WHERE l.id IS NULL OR c.bytes <> length(c.payload);

-- name: check_cache_size
SELECT 'size', 'is counted as ' || s.bytes || ' bytes, not ' || coalesce(c.bytes, 0)
FROM kedge.cache_size s, (SELECT sum(bytes) AS bytes FROM kedge.cache) c WHERE s.bytes <> coalesce(c.bytes, 0);
