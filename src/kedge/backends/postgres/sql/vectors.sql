-- name: embedding
SELECT id, dim, is_plain FROM kedge.embeddings WHERE collection = $1 AND space = $2;

-- name: embedding_insert
INSERT INTO kedge.embeddings (collection, space, dim, is_plain) VALUES ($1, $2, $3, TRUE)
ON CONFLICT DO NOTHING RETURNING id, dim, is_plain;

-- name: embedding_not_plain
UPDATE kedge.embeddings SET is_plain = FALSE WHERE id = $1;

-- name: embeddings
-- The last column says whether there is a usable index. One that is being built, or failed to build, does not count.
SELECT e.id, e.space, e.dim, e.is_plain, coalesce(i.indisvalid, FALSE)
FROM kedge.embeddings e LEFT JOIN pg_index i ON i.indexrelid = to_regclass('kedge.vectors_' || e.id)
WHERE e.collection = $1 ORDER BY e.id;

-- name: settings
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', TRUE), set_config('hnsw.ef_search', $1, TRUE),
    set_config('hnsw.max_scan_tuples', $2, TRUE), set_config('enable_seqscan', 'off', TRUE),
    set_config('enable_sort', 'off', TRUE), set_config('enable_hashjoin', 'off', TRUE),
    set_config('enable_mergejoin', 'off', TRUE);

-- name: nearest_by_index
-- A partial index covers one embedding space. Its number must be a literal here for the planner to use the index.
SELECT v.seq, s.state, v.name, v.rank, v.lineage, v.vector FROM kedge.vector_rows v JOIN kedge.row_states s ON s.seq = v.seq
WHERE v.embedding = {embedding} AND s.state = ANY($1::int8[])
ORDER BY v.vector::vector({dim}) {distance} $2::vector LIMIT $3;

-- name: index
CREATE INDEX CONCURRENTLY vectors_{embedding} ON kedge.vector_rows
USING hnsw ((vector::vector({dim})) {operators}) WHERE embedding = {embedding};

-- name: index_drop
DROP INDEX CONCURRENTLY IF EXISTS kedge.vectors_{embedding};

-- name: rows_in
SELECT coalesce(sum(rows), 0)::int8 FROM kedge.state_counts WHERE embedding = $1;

-- name: rows_insert
INSERT INTO kedge.vector_rows (seq, space, name, rank, lineage, vector, embedding)
SELECT *, $7::int8 FROM unnest($1::int8[], $2::int8[], $3::text[], $4::int8[], $5::int8[], $6::{vector}[]);

-- name: states_insert
INSERT INTO kedge.row_states (seq, state, embedding) SELECT *, $3::int8 FROM unnest($1::int8[], $2::int8[]);

-- name: rows_to_supersede
-- The rows at these keys that may not be superseded yet by the lineage of the write of the same position: those below
-- the rank of its last write before this one were superseded by it then.
SELECT w.position, r.seq, r.rank, r.embedding, r.state
FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[]) WITH ORDINALITY AS w (name, lineage, rank, seq, position)
CROSS JOIN LATERAL (
    SELECT v.seq, v.rank, s.embedding, s.state FROM kedge.vector_rows v JOIN kedge.row_states s ON s.seq = v.seq
    WHERE v.space = $5 AND v.name = w.name AND (v.rank, v.seq) < (w.rank, w.seq)
      AND v.rank >= coalesce((
          SELECT o.rank FROM kedge.writes o
          WHERE o.space = $5 AND o.name = w.name AND o.lineage = w.lineage AND o.rank <= w.rank AND o.seq < w.seq
          ORDER BY o.rank DESC LIMIT 1
      ), 0)
) r;

-- name: rows_restate
UPDATE kedge.row_states s SET state = n.state
FROM unnest($1::int8[], $2::int8[]) AS n (seq, state) WHERE s.seq = n.seq;

-- name: lineages_above
SELECT DISTINCT lineage FROM kedge.writes WHERE space = $1 AND name = $2 AND rank > $3 AND seq < $4;

-- name: state_count
INSERT INTO kedge.state_counts (embedding, state, rows, lane)
SELECT *, $4::int8 FROM unnest($1::int8[], $2::int8[], $3::int8[])
ON CONFLICT (embedding, state, lane) DO UPDATE SET rows = state_counts.rows + excluded.rows;

-- name: state_counts
SELECT c.embedding, c.state, sum(c.rows)::int8 FROM kedge.state_counts c
JOIN kedge.embeddings e ON e.id = c.embedding WHERE e.collection = $1
GROUP BY c.embedding, c.state HAVING sum(c.rows) > 0;

-- name: rows_then
SELECT embedding, lineage, count(*) FROM kedge.vector_rows
WHERE embedding = ANY($1::int8[]) AND seq <= $2 GROUP BY embedding, lineage;

-- name: nearest
-- `nearness`: a lower bound of the distance, see `vector_type.lower_bound`.
SELECT v.seq, s.state, v.name, v.rank, v.lineage, v.vector, {nearness} AS distance
FROM kedge.row_states s JOIN kedge.vector_rows v ON v.seq = s.seq
WHERE s.embedding = $1 AND s.state = ANY($2::int8[]) ORDER BY distance LIMIT $4;

-- name: scan
SELECT v.seq, s.state, v.name, v.rank, v.lineage, v.vector FROM kedge.row_states s JOIN kedge.vector_rows v ON v.seq = s.seq
WHERE s.embedding = $1 AND s.state = ANY($2::int8[]) AND s.seq > $3 ORDER BY s.seq LIMIT $4;

-- name: heads_then
-- The rows of some embedding spaces that were not superseded yet at a seq, by the lineages that a view saw.
SELECT v.embedding, v.seq, v.lineage FROM kedge.vector_rows v
WHERE v.embedding = ANY($1::int8[]) AND v.seq <= $2 AND v.lineage = ANY($3::int8[]) AND NOT EXISTS (
    SELECT 1 FROM kedge.writes w
    WHERE w.space = v.space AND w.name = v.name AND (w.rank, w.seq) > (v.rank, v.seq)
      AND w.seq <= $2 AND w.lineage = ANY($3::int8[])
);

-- name: superseded_then
SELECT v.seq FROM kedge.vector_rows v
WHERE v.seq = ANY($1::int8[]) AND EXISTS (
    SELECT 1 FROM kedge.writes w
    WHERE w.space = v.space AND w.name = v.name AND (w.rank, w.seq) > (v.rank, v.seq)
      AND w.seq <= $2 AND w.lineage = ANY($3::int8[])
);

-- name: nearest_then
SELECT v.seq, 0, v.name, v.rank, v.lineage, v.vector, {nearness} AS distance FROM kedge.vector_rows v
WHERE v.embedding = $1 AND v.lineage = ANY($2::int8[]) AND v.seq <= $5
ORDER BY distance LIMIT $4;

-- name: scan_then
SELECT v.seq, 0, v.name, v.rank, v.lineage, v.vector FROM kedge.vector_rows v
WHERE v.embedding = $1 AND v.lineage = ANY($2::int8[]) AND v.seq > $3 AND v.seq <= $5 ORDER BY v.seq LIMIT $4;

-- name: matrix
SELECT asked.position - 1, v.vector FROM unnest($1::int8[]) WITH ORDINALITY AS asked (seq, position)
JOIN kedge.vector_rows v ON v.seq = asked.seq WHERE v.embedding = $2 ORDER BY asked.position;

-- name: rows_in_states
SELECT seq FROM kedge.row_states WHERE embedding = $1 AND state = ANY($2::int8[]) ORDER BY seq;

-- name: rows_of
SELECT seq, vector FROM kedge.vector_rows WHERE seq = ANY($1::int8[]);

-- name: writes
SELECT seq, name, lineage, rank, source, at, fresh_for, payload FROM kedge.writes WHERE seq = ANY($1::int8[]);

-- name: collection_insert
INSERT INTO kedge.collections (name, dim, metric, embedder, at, fields) VALUES ($1, $2, $3, $4, $5, '{}')
ON CONFLICT DO NOTHING;

-- name: collection_held
SELECT name, dim, metric, embedder, fields FROM kedge.collections WHERE name = $1 FOR UPDATE;

-- name: collection_fields
UPDATE kedge.collections SET fields = $2::text[] WHERE name = $1;

-- name: collection
SELECT name, dim, metric, embedder, fields FROM kedge.collections WHERE name = $1;

-- name: collections
SELECT name, dim, metric, embedder, fields FROM kedge.collections ORDER BY name;

-- name: heads_present
SELECT state, count(*) FROM kedge.heads WHERE space = $1 AND state = ANY($2::int8[]) AND NOT deleted GROUP BY state;

-- name: contested_heads_present
SELECT h.state, count(*) FROM kedge.heads h
WHERE h.space = $1 AND h.state = ANY($2::int8[]) AND NOT h.deleted AND NOT EXISTS (
    SELECT 1 FROM kedge.heads o
    WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
      AND o.lineage + 0 = ANY($3::int8[])
)
GROUP BY h.state;

-- name: contested_rows
-- Rows, and whether a newer head of their key is in the lineages of $2; which of the newer ones are in those of $3.
SELECT h.seq, h.lineage, NOT NOT EXISTS (
    SELECT 1 FROM kedge.heads o
    WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
      AND o.lineage + 0 = ANY($2::int8[])
), ARRAY(
    SELECT o.lineage FROM kedge.heads o
    WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
      AND o.lineage + 0 = ANY($3::int8[])
)
FROM kedge.vector_rows h WHERE h.seq = ANY($1::int8[]);

-- name: heads_of_lineages
SELECT name, rank, seq, lineage FROM kedge.heads
WHERE space = $1 AND name = ANY($2::text[]) AND lineage + 0 = ANY($3::int8[]);

-- name: rows_in_contested
SELECT seq FROM kedge.row_states WHERE embedding = ANY($1::int8[]) AND state = ANY($2::int8[]);

-- name: rows_of_lineages
SELECT r.seq FROM kedge.states s JOIN kedge.embeddings e ON true
JOIN kedge.row_states r ON r.embedding = e.id AND r.state = s.id
WHERE s.lineage = ANY($1::int8[]) LIMIT $2;

-- name: rows_delete
-- Delete vector rows, and subtract them from the counts of their states.
WITH gone AS (
    DELETE FROM kedge.row_states r WHERE r.seq = ANY($1::int8[]) RETURNING r.seq, r.embedding, r.state
), counted AS (
    INSERT INTO kedge.state_counts (embedding, state, lane, rows)
    SELECT embedding, state, $2::int8, -count(*) FROM gone GROUP BY embedding, state
    ON CONFLICT (embedding, state, lane) DO UPDATE SET rows = state_counts.rows + excluded.rows
), deleted AS (
    DELETE FROM kedge.vector_rows v USING gone WHERE v.seq = gone.seq RETURNING v.embedding
)
SELECT e.dim FROM deleted d JOIN kedge.embeddings e ON e.id = d.embedding;
