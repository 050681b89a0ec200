-- name: spaces
SELECT id, store, space FROM spaces WHERE store IN (SELECT value FROM json_each(?)) ORDER BY id;

-- name: versions
-- All writes at the keys of a part that have another write, key by key.
WITH keys (space, name) AS (
    SELECT DISTINCT w.space, w.name FROM writes w
    WHERE w.seq BETWEEN ?1 AND ?2 AND w.space IN (SELECT value FROM json_each(?4))
    AND EXISTS (SELECT 1 FROM writes o INDEXED BY writes_by_key
                WHERE o.space = w.space AND o.name = w.name AND o.seq <> w.seq)
    AND NOT EXISTS (SELECT 1 FROM writes o INDEXED BY writes_by_key
                    WHERE o.space = w.space AND o.name = w.name AND o.seq > ?2 AND o.seq <= ?3)
)
SELECT w.space, w.name, w.seq, w.rank, w.lineage, w.salt IS NOT NULL AND NOT w.deleted
FROM keys CROSS JOIN writes w INDEXED BY writes_by_key ON w.space = keys.space AND w.name = keys.name
ORDER BY w.space, w.name;

-- name: content_bytes
SELECT count(*), coalesce(sum(length(payload)), 0) FROM writes
WHERE seq IN (SELECT value FROM json_each(?)) AND salt IS NOT NULL;

-- name: erase
UPDATE writes SET payload = NULL, salt = NULL
WHERE seq IN (SELECT value FROM json_each(?)) AND salt IS NOT NULL;

-- name: sample
SELECT s.store, s.space, w.space, w.name, w.rank, w.seq, w.lineage, coalesce(length(w.payload), 0)
FROM writes w JOIN spaces s ON s.id = w.space WHERE w.seq IN (SELECT value FROM json_each(?));

-- name: above
-- A few writes above one at its key, by seeks: of its own lineage and of those made later, and of none.
SELECT seq, lineage FROM (
    SELECT * FROM (
        SELECT seq, lineage, rank FROM writes INDEXED BY writes_by_key
        WHERE space = ?1 AND name = ?2 AND (lineage, rank) > (?3, ?4) ORDER BY lineage, rank LIMIT ?6)
    UNION ALL
    SELECT * FROM (
        SELECT seq, lineage, rank FROM writes INDEXED BY writes_by_key
        WHERE space = ?1 AND name = ?2 AND lineage = 0 AND rank > ?4 ORDER BY rank LIMIT ?6)
) WHERE (rank, seq) > (?4, ?5);

-- name: vector_bytes
SELECT coalesce(sum(rows * dim * 4), 0) FROM segments;

-- name: claim
-- A time in the future is that of a wrong clock.
INSERT INTO meta AS m (name, value) VALUES ('reclamation_claim', ?1) ON CONFLICT (name) DO UPDATE
SET value = excluded.value WHERE m.value <= ?2 OR m.value > ?3 RETURNING 1;

-- name: progress
SELECT value FROM meta WHERE name = 'reclamation';

-- name: set_progress
INSERT INTO meta (name, value) VALUES ('reclamation', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
