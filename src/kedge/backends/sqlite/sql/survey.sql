-- name: lineages_with
SELECT DISTINCT lineage FROM lineage_members WHERE number IN (SELECT value FROM json_each(?1))
EXCEPT
SELECT lineage FROM lineage_members WHERE number IN (SELECT value FROM json_each(?2))
ORDER BY lineage;

-- name: counted
SELECT s.store, s.space, sum(c.puts), sum(c.deletes) FROM counters c JOIN spaces s ON s.id = c.space
WHERE c.lineage IN (SELECT value FROM json_each(?))
GROUP BY s.id ORDER BY s.store, s.space;

-- name: spaces_with
SELECT DISTINCT c.space, s.store, s.space FROM counters c JOIN spaces s ON s.id = c.space
WHERE c.lineage IN (SELECT value FROM json_each(?)) ORDER BY s.store, s.space;

-- name: keys_of
SELECT DISTINCT name FROM heads INDEXED BY heads_by_state
WHERE space = ? AND state IN (SELECT id FROM states WHERE lineage IN (SELECT value FROM json_each(?))) LIMIT ?;

-- name: count_keys_of
SELECT count(*) FROM heads INDEXED BY heads_by_state
WHERE space = ? AND state IN (SELECT id FROM states WHERE lineage IN (SELECT value FROM json_each(?)));

-- name: influenced
SELECT id, uid, agent, session, parent, replays,
    EXISTS (SELECT 1 FROM writes w WHERE w.turn = t.id AND NOT w.source
            AND w.lineage IN (SELECT value FROM json_each(?1))),
    EXISTS (SELECT 1 FROM writes w WHERE w.turn = t.id AND w.source),
    NOT EXISTS (
        SELECT 1 FROM writes w JOIN spaces s ON s.id = w.space
        WHERE w.turn = t.id AND NOT w.source AND w.lineage IN (SELECT value FROM json_each(?1))
          AND NOT (s.store = 'vectors' AND EXISTS (
              SELECT 1 FROM heads d
              WHERE d.space = (SELECT id FROM spaces WHERE store = 'documents' AND space = s.space) AND d.name = w.name))
    )
FROM turns t INDEXED BY turns_by_lineage
WHERE lineage IN (SELECT value FROM json_each(?1)) ORDER BY id;

-- name: sources_inside
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM turns t INDEXED BY turns_by_lineage
JOIN writes w INDEXED BY writes_by_turn ON w.turn = t.id
JOIN spaces s ON s.id = w.space
WHERE t.lineage IN (SELECT value FROM json_each(?)) AND w.source AND NOT w.deleted ORDER BY w.seq;

-- name: turns
SELECT id, uid, agent, session, parent, replays FROM turns WHERE uid IN (SELECT value FROM json_each(?));

-- name: sources_of
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM writes w JOIN spaces s ON s.id = w.space JOIN turns t ON t.id = w.turn
WHERE w.turn IN (SELECT value FROM json_each(?)) AND w.source AND NOT w.deleted ORDER BY w.seq;

-- name: sources_at
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM writes w JOIN spaces s ON s.id = w.space JOIN turns t ON t.id = w.turn
WHERE w.seq IN (SELECT value FROM json_each(?)) AND w.source AND NOT w.deleted;

-- name: source_at
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, w.payload
FROM writes w JOIN spaces s ON s.id = w.space JOIN turns t ON t.id = w.turn
WHERE w.seq = ? AND w.source AND NOT w.deleted;

-- name: newest_message
SELECT s.store, s.space, w.name, w.seq, w.rank, w.at, t.agent, t.person, t.session, w.turn, NULL
FROM writes w INDEXED BY writes_by_key JOIN spaces s ON s.id = w.space JOIN turns t ON t.id = w.turn
WHERE w.space = (SELECT id FROM spaces WHERE store = 'memory' AND space = ?1)
  AND w.source AND NOT w.deleted AND w.seq <= ?2
ORDER BY w.name DESC LIMIT 1;

-- name: writers_of
SELECT w.seq, t.id, t.uid, t.agent, t.session, t.parent, t.replays
FROM writes w JOIN turns t ON t.id = w.turn WHERE w.seq IN (SELECT value FROM json_each(?));

-- name: reads_of
SELECT turn, reads FROM reads WHERE turn IN (SELECT value FROM json_each(?)) ORDER BY turn, before_seq;

-- name: written_by_both
-- A key once, however many of the deployment's lineages have a head there: by the least of them.
SELECT s.store, s.space, h.name FROM heads h JOIN spaces s ON s.id = h.space
WHERE h.lineage IN (SELECT lineage FROM lineage_members WHERE number = ?1)
  AND EXISTS (SELECT 1 FROM heads o WHERE o.space = h.space AND o.name = h.name
              AND o.lineage NOT IN (SELECT lineage FROM lineage_members WHERE number = ?1))
  AND NOT EXISTS (SELECT 1 FROM heads p WHERE p.space = h.space AND p.name = h.name AND p.lineage < h.lineage
                  AND p.lineage IN (SELECT lineage FROM lineage_members WHERE number = ?1))
LIMIT ?2;

-- name: replayed_upto
SELECT seq, turn FROM replayed WHERE seq IN (SELECT value FROM json_each(?));

-- name: mark_replayed
INSERT INTO replayed (seq, turn, uid) VALUES (?, ?, ?)
ON CONFLICT (seq) DO UPDATE SET turn = max(turn, excluded.turn), uid = excluded.uid;

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

-- name: embedded_in
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

-- name: unfed
-- ?1, ?2: the spaces of the vectors and of the documents; ?3: the lineages asked for; ?4: those that the view sees.
-- NOT EXISTS sorts out the many that some visible put covers for sure, so that few are looked at closely.
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

-- name: true_writes
SELECT w.lineage, w.rank, w.seq, w.deleted, w.source, w.at, w.fresh_for, w.payload, l.members
FROM writes w JOIN lineages l ON l.id = w.lineage
WHERE w.space = (SELECT id FROM spaces WHERE store = ? AND space = ?) AND w.name = ?;

-- name: key_near
SELECT s.store, s.space, w.name FROM writes w JOIN spaces s ON s.id = w.space WHERE w.seq >= ? ORDER BY w.seq LIMIT 1;

-- name: row_near
SELECT v.segment, v.row, v.seq, v.state, v.name, s.space FROM vector_rows v JOIN spaces s ON s.id = v.space
WHERE v.segment = ? AND v.row >= ? ORDER BY v.row LIMIT 1;

-- name: erase
UPDATE writes SET payload = NULL, salt = NULL
WHERE seq BETWEEN ?1 AND ?2 AND lineage IN (SELECT value FROM json_each(?3)) AND salt IS NOT NULL;

-- name: first_seq_of_turns
SELECT min(w.seq) FROM writes w JOIN turns t ON t.id = w.turn
WHERE t.lineage IN (SELECT value FROM json_each(?));
