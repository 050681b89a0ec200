-- name: now
SELECT coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8);

-- name: begin
INSERT INTO kedge.launches (
    name, digest, release, state, version, done, phase, blocks, trouble, begun_at, changed_at, begun_by, holder, host, until
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (name) DO NOTHING RETURNING name;

-- name: get
SELECT name, digest, release, state, version, done, phase, blocks, trouble, begun_at, changed_at, begun_by, holder,
    host, until
FROM kedge.launches WHERE name = $1;

-- name: all
SELECT name, digest, release, state, version, done, phase, blocks, trouble, begun_at, changed_at, begun_by, holder,
    host, until
FROM kedge.launches ORDER BY begun_at DESC, name;

-- name: blocking
SELECT name FROM kedge.launches WHERE blocks ORDER BY name;

-- name: acquire
WITH stands AS (
    SELECT coalesce($4::float8, extract(epoch FROM clock_timestamp())::float8) AS at
)
UPDATE kedge.launches SET holder = $2, host = $3, until = stands.at + $5::float8
FROM stands
WHERE name = $1 AND (holder IS NULL OR holder = $2 OR until < stands.at);

-- name: release
UPDATE kedge.launches SET holder = NULL, host = NULL, until = NULL WHERE name = $1 AND holder = $2;

-- name: advance
UPDATE kedge.launches SET state = $4, phase = $5, blocks = $6, version = version + 1,
    done = CASE WHEN $8::bool THEN version + 1 ELSE done END,
    changed_at = coalesce($7::float8, extract(epoch FROM clock_timestamp())::float8)
WHERE name = $1 AND holder = $2 AND version = $3 RETURNING version;

-- name: mark_done
UPDATE kedge.launches SET done = $3, trouble = $4 WHERE name = $1 AND holder = $2 AND version = $3 RETURNING version;

-- name: ask
INSERT INTO kedge.launch_requests (launch, number, at, body)
SELECT $1, coalesce(max(number), 0) + 1, coalesce($2::float8, extract(epoch FROM clock_timestamp())::float8), $3::bytea
FROM kedge.launch_requests WHERE launch = $1
RETURNING number;

-- name: asked
SELECT number FROM kedge.launch_requests WHERE launch = $1 AND body = $2;

-- name: requests
SELECT number, at, body FROM kedge.launch_requests WHERE launch = $1 AND number > $2 ORDER BY number;

-- name: unblock
UPDATE kedge.launches SET blocks = FALSE WHERE blocks;
