-- name: look
-- The epoch, the record, the time of the next entry (at least a tick after the last one), and its seqs, which are drawn
-- only at the given epoch.
SELECT c.epoch, c.record,
    greatest(
        coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8),
        (SELECT at + $4::float8 FROM kedge.writes ORDER BY seq DESC LIMIT 1),
        (SELECT at + $4::float8 FROM kedge.control_log ORDER BY seq DESC LIMIT 1)
    ),
    CASE WHEN $2::int8 IS NULL OR c.epoch = $2
        THEN ARRAY(SELECT nextval('kedge.seqs') FROM generate_series(1, $3::int8)) END
FROM kedge.control c;

-- name: last_seq
SELECT greatest(
    coalesce((SELECT max(seq) FROM kedge.writes), 0), coalesce((SELECT max(seq) FROM kedge.control_log), 0)
);

-- name: settled_seq
-- A change of the record holds all lanes: everything before it is committed. A standby has what was committed before.
SELECT coalesce((SELECT seq FROM kedge.control_log WHERE record IS NOT NULL ORDER BY seq DESC LIMIT 1), 0);

-- name: epoch
SELECT epoch FROM kedge.control;

-- name: record
SELECT record FROM kedge.control;

-- name: lineage_id
SELECT id FROM kedge.lineages WHERE md5(members) = md5($1) AND members = $1;

-- name: lineage_insert
INSERT INTO kedge.lineages (members) VALUES ($1) ON CONFLICT (md5(members)) DO NOTHING RETURNING id;

-- name: lineage_members_insert
INSERT INTO kedge.lineage_members (number, lineage) SELECT unnest($1::int8[]), $2;

-- name: lineage_members
SELECT members FROM kedge.lineages WHERE id = $1;

-- name: lineages_members
SELECT id, members FROM kedge.lineages WHERE id = ANY($1::int8[]);

-- name: lineages_missing
SELECT k.id FROM unnest($1::int8[], $2::text[]) AS k (id, members)
LEFT JOIN kedge.lineages l ON l.id = k.id AND l.members = k.members WHERE l.id IS NULL LIMIT 1;

-- name: spaces_missing
SELECT k.store, k.space FROM unnest($1::int8[], $2::text[], $3::text[]) AS k (id, store, space)
LEFT JOIN kedge.spaces s ON s.id = k.id AND s.store = k.store AND s.space = k.space WHERE s.id IS NULL LIMIT 1;

-- name: turns_missing
SELECT k.uid FROM unnest($1::text[], $2::int8[]) AS k (uid, id)
LEFT JOIN kedge.turns t ON t.id = k.id AND t.uid = k.uid WHERE t.id IS NULL LIMIT 1;

-- name: space_id
SELECT id FROM kedge.spaces WHERE store = $1 AND space = $2;

-- name: space_insert
INSERT INTO kedge.spaces (store, space) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id;

-- name: seen_id
SELECT id FROM kedge.seen_sets WHERE md5(members) = md5($1) AND members = $1;

-- name: seen_insert
INSERT INTO kedge.seen_sets (members) VALUES ($1) ON CONFLICT (md5(members)) DO NOTHING RETURNING id;

-- name: seen_missing
SELECT k.id FROM unnest($1::int8[], $2::text[]) AS k (id, members)
LEFT JOIN kedge.seen_sets s ON s.id = k.id AND s.members = k.members WHERE s.id IS NULL LIMIT 1;

-- name: turn_upsert
-- The lineage of a turn only grows: of threads that share it, the one that had read less may commit last.
INSERT INTO kedge.turns (uid, agent, person, session, parent, replays, began_at, began_epoch, lineage, seen)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (uid) DO UPDATE SET lineage = CASE WHEN excluded.lineage = turns.lineage OR NOT
    (SELECT members::jsonb FROM kedge.lineages WHERE id = turns.lineage)
    @> (SELECT members::jsonb FROM kedge.lineages WHERE id = excluded.lineage)
    THEN excluded.lineage ELSE turns.lineage END
RETURNING id;

-- name: append_alike
-- Writes that differ only in seq, name, digest (32 bytes each), salt (16) and payload, whose ranks are their seqs, and
-- that become heads in one state.
WITH given AS (
    SELECT seq, name, payload, substr($4::bytea, 32 * n::int4 - 31, 32) AS digest, substr($5::bytea, 16 * n::int4 - 15, 16) AS salt
    FROM unnest($1::int8[], $2::text[], $3::bytea[]) WITH ORDINALITY AS g (seq, name, payload, n)
), written AS (
    INSERT INTO kedge.writes
        (seq, space, name, lineage, rank, deleted, source, provenance, fresh_for, digest, salt, payload, turn, at)
    SELECT seq, $6::int8, name, $7::int8, seq, $8::bool, $9::bool, $10::int8, $11::float8, digest, salt, payload,
        $12::int8, $13::float8
    FROM given
), headed AS (
    INSERT INTO kedge.heads (space, name, lineage, rank, seq, deleted, state)
    SELECT $6::int8, name, $7::int8, seq, seq, $8::bool, $14::int8 FROM given
    ON CONFLICT (space, name, lineage) DO UPDATE
    SET rank = excluded.rank, seq = excluded.seq, deleted = excluded.deleted, state = excluded.state
)
INSERT INTO kedge.counters (space, lineage, lane, puts, deletes)
SELECT $6::int8, $7::int8, $15::int8, CASE WHEN $8::bool THEN 0 ELSE $16::int8 END,
    CASE WHEN $8::bool THEN $16::int8 ELSE 0 END
ON CONFLICT (space, lineage, lane) DO UPDATE
SET puts = counters.puts + excluded.puts, deletes = counters.deletes + excluded.deletes;

-- name: append_one
SELECT kedge.append_one(
    $1::int8[], $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20
);

-- name: append_one_find
SELECT seq FROM kedge.writes WHERE turn = $1 AND digest = $2;

-- name: fence
SELECT last_value FROM kedge.fences;

-- name: fence_raise
SELECT nextval('kedge.fences');

-- name: append_many
-- Writes ($1 to $14), the heads that they change ($15 to $21), and the additions to the counters.
WITH written AS (
    INSERT INTO kedge.writes
        (seq, space, name, lineage, rank, deleted, source, provenance, fresh_for, digest, salt, payload, turn, at)
    SELECT *, $13::int8, $14::float8 FROM unnest(
        $1::int8[], $2::int8[], $3::text[], $4::int8[], $5::int8[], $6::bool[], $7::bool[], $8::int8[], $9::float8[],
        $10::bytea[], $11::bytea[], $12::bytea[])
), headed AS (
    INSERT INTO kedge.heads (space, name, lineage, rank, seq, deleted, state)
    SELECT * FROM unnest($15::int8[], $16::text[], $17::int8[], $18::int8[], $19::int8[], $20::bool[], $21::int8[])
    ON CONFLICT (space, name, lineage) DO UPDATE
    SET rank = excluded.rank, seq = excluded.seq, deleted = excluded.deleted, state = excluded.state
)
INSERT INTO kedge.counters (space, lineage, lane, puts, deletes)
SELECT space, lineage, $22::int8, puts, deletes
FROM unnest($23::int8[], $24::int8[], $25::int8[], $26::int8[]) AS added (space, lineage, puts, deletes)
ON CONFLICT (space, lineage, lane) DO UPDATE
SET puts = counters.puts + excluded.puts, deletes = counters.deletes + excluded.deletes;

-- name: heads_at
SELECT name, lineage, rank, seq, deleted, state FROM kedge.heads WHERE space = $1 AND name = ANY($2::text[]);

-- name: heads_drop
DELETE FROM kedge.heads h USING unnest($1::int8[], $2::text[], $3::int8[]) AS gone (space, name, lineage)
WHERE h.space = gone.space AND h.name = gone.name AND h.lineage = gone.lineage;

-- name: reads_insert
INSERT INTO kedge.reads (turn, before_seq, reads) VALUES ($1, $2, $3);

-- name: edge_insert
INSERT INTO kedge.edges (at, kind, turn, peer, lineage) VALUES ($1, $2, $3, $4, $5);

-- name: idempotency_find
SELECT seqs, lineage FROM kedge.idempotency WHERE key = $1 ORDER BY seqs[1] DESC;

-- name: idempotency_insert
INSERT INTO kedge.idempotency (key, seqs, lineage) VALUES ($1, $2::int8[], $3);

-- name: writes_of_call
SELECT w.seq, w.lineage, coalesce(t.uid, '') FROM kedge.writes w LEFT JOIN kedge.turns t ON t.id = w.turn
WHERE w.seq = ANY($1::int8[]) ORDER BY w.seq;

-- name: repeated_writes
SELECT w.seq, w.space, w.name, w.digest, w.salt, w.source, w.lineage, coalesce(t.uid, '')
FROM kedge.writes w LEFT JOIN kedge.turns t ON t.id = w.turn WHERE w.seq = ANY($1::int8[]) ORDER BY w.seq;

-- name: contents
SELECT w.name, w.payload FROM unnest($1::int8[]) WITH ORDINALITY AS asked (seq, position)
JOIN kedge.writes w ON w.seq = asked.seq ORDER BY asked.position;

-- name: is_written
-- By turn, too: after a crash, uncommitted seqs are drawn again by others.
SELECT 1 FROM kedge.writes w JOIN kedge.turns t ON t.id = w.turn WHERE w.seq = $1 AND t.uid = $2;

-- name: head
SELECT c.epoch, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM kedge.control c
LEFT JOIN kedge.heads h ON h.space = $1 AND h.name = $2
LEFT JOIN kedge.writes w ON w.seq = h.seq;

-- name: newest_heads
-- At each name, the newest head of all lineages.
SELECT h.name, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM unnest($2::text[]) AS n (name) CROSS JOIN LATERAL (
    SELECT * FROM kedge.heads c WHERE c.space = $1 AND c.name = n.name ORDER BY c.rank DESC, c.seq DESC LIMIT 1
) h
JOIN kedge.writes w ON w.seq = h.seq;

-- name: heads
-- The heads of pairs of a name and a lineage.
SELECT h.name, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM unnest($2::text[], $3::int8[]) AS n (name, lineage)
JOIN kedge.heads h ON h.space = $1 AND h.name = n.name AND h.lineage = n.lineage
JOIN kedge.writes w ON w.seq = h.seq;

-- name: lineages_of
-- The heads at some names, at each name the newest first.
SELECT name, lineage FROM kedge.heads WHERE space = $1 AND name = ANY($2::text[]) ORDER BY name, rank DESC, seq DESC;

-- name: lineages_at
SELECT DISTINCT lineage FROM kedge.heads WHERE space = $1 AND name = ANY($2::text[]);

-- name: space_lineages
SELECT DISTINCT lineage FROM kedge.counters WHERE space = $1;

-- name: range
SELECT h.name, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM kedge.heads h JOIN kedge.writes w ON w.seq = h.seq
WHERE h.space = $1 AND h.state = ANY($2::int8[]) AND NOT h.deleted AND h.name >= $3 AND h.name < $4;

-- name: contested_range
-- Of the heads in contested states, those that no newer one supersedes in the lineages of $5.
SELECT h.name, h.lineage, h.rank, h.seq, h.deleted, w.source, w.at, w.fresh_for, w.payload
FROM kedge.heads h JOIN kedge.writes w ON w.seq = h.seq
WHERE h.space = $1 AND h.state = ANY($2::int8[]) AND NOT h.deleted AND h.name >= $3 AND h.name < $4 AND NOT EXISTS (
    SELECT 1 FROM kedge.heads o
    WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
      AND o.lineage + 0 = ANY($5::int8[])
);

-- name: first_names
-- One index scan for each state.
SELECT n.name FROM unnest($2::int8[]) AS s (state) CROSS JOIN LATERAL (
    SELECT h.name FROM kedge.heads h
    WHERE h.space = $1 AND h.state = s.state AND NOT h.deleted AND h.name >= $3 AND h.name < $4
    ORDER BY h.name DESC LIMIT $5
) n ORDER BY n.name DESC LIMIT $5;

-- name: first_contested_names
SELECT n.name FROM unnest($2::int8[]) AS s (state) CROSS JOIN LATERAL (
    SELECT h.name FROM kedge.heads h
    WHERE h.space = $1 AND h.state = s.state AND NOT h.deleted AND h.name >= $3 AND h.name < $4 AND NOT EXISTS (
        SELECT 1 FROM kedge.heads o
        WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
          AND o.lineage + 0 = ANY($6::int8[])
    )
    ORDER BY h.name DESC LIMIT $5
) n ORDER BY n.name DESC LIMIT $5;

-- name: states_with_deletes
SELECT s.state FROM unnest($2::int8[]) AS s (state) WHERE EXISTS (
    SELECT 1 FROM kedge.heads h
    WHERE h.space = $1 AND h.state = s.state AND h.deleted AND h.name >= $3 AND h.name < $4
);

-- name: states_with_contested_deletes
SELECT s.state FROM unnest($2::int8[]) AS s (state) WHERE EXISTS (
    SELECT 1 FROM kedge.heads h
    WHERE h.space = $1 AND h.state = s.state AND h.deleted AND h.name >= $3 AND h.name < $4
      AND NOT EXISTS (
          SELECT 1 FROM kedge.heads o
          WHERE o.space = h.space AND o.name = h.name AND (o.rank, o.seq) > (h.rank, h.seq)
            AND o.lineage + 0 = ANY($5::int8[])
      )
);

-- name: past_lineages
-- The distinct lineages at a key, by seeks: the cost does not grow with the versions of each.
WITH RECURSIVE found (lineage) AS (
    (SELECT lineage FROM kedge.writes WHERE space = $1 AND name = $2 ORDER BY lineage LIMIT 1)
    UNION ALL
    SELECT (SELECT w.lineage FROM kedge.writes w
            WHERE w.space = $1 AND w.name = $2 AND w.lineage > found.lineage ORDER BY w.lineage LIMIT 1)
    FROM found WHERE found.lineage IS NOT NULL
)
SELECT lineage FROM found WHERE lineage IS NOT NULL;

-- name: past_head
SELECT h.* FROM unnest($3::int8[]) AS l (lineage) CROSS JOIN LATERAL (
    SELECT w.lineage, w.rank, w.seq, w.deleted, w.source, w.at, w.fresh_for, w.payload FROM kedge.writes w
    WHERE w.space = $1 AND w.name = $2 AND w.lineage = l.lineage AND w.seq <= $4 AND w.rank <= $5
    ORDER BY w.rank DESC, w.seq DESC LIMIT 1
) h;

-- name: past_names
WITH RECURSIVE found (name) AS (
    (SELECT name FROM kedge.writes WHERE space = $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT 1)
    UNION ALL
    SELECT (SELECT w.name FROM kedge.writes w
            WHERE w.space = $1 AND w.name > found.name AND w.name < $3 ORDER BY w.name LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL LIMIT $4;

-- name: past_names_before
SELECT DISTINCT name FROM kedge.writes WHERE space = $1 AND name >= $2 AND name < $3 ORDER BY name DESC LIMIT $4;

-- name: stores
SELECT DISTINCT store FROM kedge.spaces ORDER BY store;

-- name: spaces_of
SELECT space FROM kedge.spaces WHERE store = $1 ORDER BY space;

-- name: messages_from
SELECT name, seq, lineage, deleted, payload FROM kedge.writes
WHERE space = $1 AND name >= $2 AND seq <= $3 AND rank <= $4 ORDER BY name, seq;

-- name: stores_of_session
SELECT id, store FROM kedge.spaces
WHERE space = $1 AND store NOT IN ('artifacts', 'documents', 'vectors', 'context') ORDER BY store;

-- name: writes_of_space
SELECT name, seq, rank, deleted, source, lineage, provenance, at, fresh_for, payload FROM kedge.writes
WHERE space = $1 ORDER BY seq;

-- name: session_name_id
SELECT id FROM kedge.session_names WHERE session = $1;

-- name: session_name_insert
INSERT INTO kedge.session_names (session) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id;
