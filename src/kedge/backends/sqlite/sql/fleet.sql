-- name: refresh
INSERT INTO members (uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, expired, held, code)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?7 < (SELECT epoch FROM control), ?10, ?11)
ON CONFLICT (uid) DO UPDATE SET
    epoch = max(epoch, excluded.epoch),
    at = excluded.at,
    expired = expired AND excluded.expired,
    held = excluded.held;

-- name: epoch
SELECT epoch FROM control;

-- name: forget
DELETE FROM members WHERE expired AND at < ?;

-- name: leave
DELETE FROM members WHERE uid = ?;

-- name: members
SELECT uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, expired, held, code FROM members
WHERE ?1 IS NULL OR epoch < ?1 ORDER BY joined_at, uid;

-- name: count_out
UPDATE members SET expired = 1 WHERE uid = ? AND epoch < ?;
