-- name: names_after
SELECT DISTINCT name FROM kedge.heads
WHERE space = (SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2) AND name > $3
ORDER BY name LIMIT $4;

-- name: names_count
SELECT count(DISTINCT name) FROM kedge.heads
WHERE space = (SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2);

-- name: names_since
SELECT DISTINCT name FROM kedge.writes
WHERE seq > $3 AND space = (SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2)
  AND lineage <> ALL($4::int8[])
ORDER BY name;

-- name: embedding_spaces
SELECT v.seq, e.space FROM kedge.vector_rows v JOIN kedge.embeddings e ON e.id = v.embedding
WHERE v.seq = ANY($1::int8[]);

-- name: batches_of
SELECT w.seq, w.turn, (SELECT max(r.before_seq) FROM kedge.reads r WHERE r.turn = w.turn AND r.before_seq <= w.seq)
FROM kedge.writes w WHERE w.seq = ANY($1::int8[]);

-- name: reads_before
SELECT reads FROM kedge.reads WHERE turn = $1 AND before_seq = $2;

-- name: versions
SELECT name, seq FROM kedge.writes
WHERE space = (SELECT id FROM kedge.spaces WHERE store = 'documents' AND space = $1)
  AND name = ANY($2::text[]);

-- name: lineages_in
SELECT DISTINCT lineage FROM kedge.counters WHERE space IN ($1, $2);

-- name: uncovered
-- $1, $2: the spaces of the vectors and of the documents; $3: the lineages asked for; $4: those that the view sees.
-- NOT EXISTS drops the many names that a visible put certainly covers; the exact test then runs on few.
SELECT f.name, f.document, d.rank, CASE WHEN NOT c.deleted THEN c.seq ELSE 0 END, w.turn, t.agent, t.session
FROM (
    SELECT h.name, max(h.seq) AS vector,
        (SELECT o.seq FROM kedge.heads o WHERE o.space = $2 AND o.name = h.name
         AND o.lineage = ANY($4::int8[]) ORDER BY o.rank DESC, o.seq DESC LIMIT 1) AS document,
        (SELECT o.seq FROM kedge.heads o WHERE o.space = $1 AND o.name = h.name
         AND o.lineage = ANY($4::int8[]) ORDER BY o.rank DESC, o.seq DESC LIMIT 1) AS covering
    FROM kedge.heads h
    WHERE h.space = $1 AND NOT h.deleted AND h.lineage = ANY($3::int8[])
      AND ($5 OR NOT EXISTS (
          SELECT 1 FROM kedge.heads o
          WHERE o.space = $1 AND o.name = h.name AND o.lineage = ANY($4::int8[]) AND NOT o.deleted
            AND o.rank > (SELECT max(d.rank) FROM kedge.heads d WHERE d.space = $2 AND d.name = h.name
                          AND d.lineage = ANY($4::int8[]))
            AND NOT EXISTS (SELECT 1 FROM kedge.heads n WHERE n.space = $1 AND n.name = h.name AND n.deleted)))
    GROUP BY h.name
) f
JOIN kedge.writes d ON d.seq = f.document
LEFT JOIN kedge.writes c ON c.seq = f.covering
JOIN kedge.writes w ON w.seq = f.vector
JOIN kedge.turns t ON t.id = w.turn
WHERE NOT d.deleted AND ($5 OR c.seq IS NULL OR c.deleted OR (c.rank, c.seq) < (d.rank, d.seq))
ORDER BY f.name;
