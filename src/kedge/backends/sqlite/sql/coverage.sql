-- name: names_after
SELECT DISTINCT name FROM heads WHERE space = (SELECT id FROM spaces WHERE store = ? AND space = ?) AND name > ?
ORDER BY name LIMIT ?;

-- name: names_count
SELECT count(DISTINCT name) FROM heads WHERE space = (SELECT id FROM spaces WHERE store = ? AND space = ?);

-- name: names_since
SELECT DISTINCT name FROM writes NOT INDEXED
WHERE seq > ?3 AND space = (SELECT id FROM spaces WHERE store = ?1 AND space = ?2)
  AND lineage NOT IN (SELECT value FROM json_each(?4))
ORDER BY name;

-- name: embedding_spaces
SELECT w.seq, g.space FROM writes w
CROSS JOIN vector_rows v INDEXED BY vector_rows_by_key
    ON v.space = w.space AND v.name = w.name AND v.rank = w.rank AND v.seq = w.seq
JOIN segments g ON g.id = v.segment
WHERE w.seq IN (SELECT value FROM json_each(?));

-- name: batches_of
SELECT w.seq, w.turn, (SELECT max(r.before_seq) FROM reads r WHERE r.turn = w.turn AND r.before_seq <= w.seq)
FROM writes w WHERE w.seq IN (SELECT value FROM json_each(?));

-- name: reads_before
SELECT reads FROM reads WHERE turn = ? AND before_seq = ?;

-- name: versions
SELECT name, seq FROM writes INDEXED BY writes_by_key
WHERE space = (SELECT id FROM spaces WHERE store = 'documents' AND space = ?)
  AND name IN (SELECT value FROM json_each(?));

-- name: lineages_in
SELECT DISTINCT lineage FROM counters WHERE space IN (?, ?);

-- name: uncovered
-- ?1, ?2: the spaces of the vectors and of the documents; ?3: the lineages asked for; ?4: those that the view sees.
-- NOT EXISTS drops the many names that a visible put certainly covers; the exact test then runs on few.
SELECT f.name, f.document, d.rank, CASE WHEN c.deleted = 0 THEN c.seq ELSE 0 END, w.turn, t.agent, t.session
FROM (
    SELECT h.name, max(h.seq) AS vector,
        (SELECT o.seq FROM heads o WHERE o.space = ?2 AND o.name = h.name
         AND o.lineage IN (SELECT value FROM json_each(?4)) ORDER BY o.rank DESC, o.seq DESC LIMIT 1) AS document,
        (SELECT o.seq FROM heads o WHERE o.space = ?1 AND o.name = h.name
         AND o.lineage IN (SELECT value FROM json_each(?4)) ORDER BY o.rank DESC, o.seq DESC LIMIT 1) AS covering
    FROM heads h
    WHERE h.space = ?1 AND h.deleted = 0 AND h.lineage IN (SELECT value FROM json_each(?3))
      AND (?5 OR NOT EXISTS (
          SELECT 1 FROM heads o
          WHERE o.space = ?1 AND o.name = h.name AND o.lineage IN (SELECT value FROM json_each(?4)) AND o.deleted = 0
            AND o.rank > (SELECT max(d.rank) FROM heads d WHERE d.space = ?2 AND d.name = h.name
                          AND d.lineage IN (SELECT value FROM json_each(?4)))
            AND NOT EXISTS (SELECT 1 FROM heads n WHERE n.space = ?1 AND n.name = h.name AND n.deleted = 1)))
    GROUP BY h.name
) f
JOIN writes d ON d.seq = f.document
LEFT JOIN writes c ON c.seq = f.covering
JOIN writes w ON w.seq = f.vector
JOIN turns t ON t.id = w.turn
WHERE d.deleted = 0 AND (?5 OR c.seq IS NULL OR c.deleted = 1 OR (c.rank, c.seq) < (d.rank, d.seq))
ORDER BY f.name;
