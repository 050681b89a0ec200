-- name: begin
INSERT OR IGNORE INTO launches (
    name, digest, release, state, version, done, phase, blocks, trouble, begun_at, changed_at, begun_by, holder, host, until
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: get
SELECT name, digest, release, state, version, done, phase, blocks, trouble, begun_at, changed_at, begun_by, holder,
    host, until
FROM launches WHERE name = ?;

-- name: all
SELECT name, digest, release, state, version, done, phase, blocks, trouble, begun_at, changed_at, begun_by, holder,
    host, until
FROM launches ORDER BY begun_at DESC, name;

-- name: blocking
SELECT name FROM launches WHERE blocks ORDER BY name;

-- name: acquire
UPDATE launches SET holder = ?2, host = ?3, until = ?4 + ?5
WHERE name = ?1 AND (holder IS NULL OR holder = ?2 OR until < ?4);

-- name: release
UPDATE launches SET holder = NULL, host = NULL, until = NULL WHERE name = ?1 AND holder = ?2;

-- name: advance
UPDATE launches SET state = ?4, phase = ?5, blocks = ?6, changed_at = ?7, version = version + 1,
    done = CASE WHEN ?8 THEN version + 1 ELSE done END
WHERE name = ?1 AND holder = ?2 AND version = ?3;

-- name: mark_done
UPDATE launches SET done = ?3, trouble = ?4 WHERE name = ?1 AND holder = ?2 AND version = ?3;

-- name: ask
INSERT INTO launch_requests (launch, number, at, body)
SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3 FROM launch_requests WHERE launch = ?1
RETURNING number;

-- name: requests
SELECT number, at, body FROM launch_requests WHERE launch = ?1 AND number > ?2 ORDER BY number;

-- name: unblock
UPDATE launches SET blocks = 0 WHERE blocks;
