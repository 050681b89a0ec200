-- name: spaces
SELECT id, store, space FROM kedge.spaces WHERE store = ANY($1::text[]) ORDER BY id;

-- name: versions
-- All writes at the keys of a part that have another write, key by key.
WITH keys (space, name) AS (
    SELECT DISTINCT w.space, w.name FROM kedge.writes w
    WHERE w.seq BETWEEN $1 AND $2 AND w.space = ANY($4::int8[])
    AND EXISTS (SELECT 1 FROM kedge.writes o
                WHERE o.space = w.space AND o.name = w.name AND o.seq <> w.seq)
    AND NOT EXISTS (SELECT 1 FROM kedge.writes o
                    WHERE o.space = w.space AND o.name = w.name AND o.seq > $2 AND o.seq <= $3)
)
SELECT w.space, w.name, w.seq, w.rank, w.lineage, w.salt IS NOT NULL AND NOT w.deleted
FROM keys JOIN kedge.writes w ON w.space = keys.space AND w.name = keys.name
ORDER BY w.space, w.name;

-- name: epoch
-- No change of the control record commits before this transaction does.
SELECT epoch FROM kedge.control FOR SHARE;

-- name: erase
WITH doomed AS (
    SELECT seq, length(payload) AS bytes FROM kedge.writes WHERE seq = ANY($1::int8[]) AND salt IS NOT NULL
), erased AS (
    UPDATE kedge.writes w SET payload = NULL, salt = NULL FROM doomed d WHERE w.seq = d.seq RETURNING d.bytes
)
SELECT count(*), coalesce(sum(bytes), 0)::int8 FROM erased;

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM kedge.writes;

-- name: progress
SELECT value FROM kedge.meta WHERE name = 'reclamation';

-- name: set_progress
INSERT INTO kedge.meta (name, value) VALUES ('reclamation', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
