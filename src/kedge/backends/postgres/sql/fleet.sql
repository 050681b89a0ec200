-- name: epoch
-- Held until the refresh is committed, and a change of the record holds it to itself: so the two are in one order.
SELECT epoch FROM kedge.control FOR SHARE;

-- name: durable
SELECT set_config('synchronous_commit', 'on', TRUE);

-- name: refresh
INSERT INTO kedge.members AS m
    (uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, expired, held, code)
VALUES ($1, $2, $3, $4, $5::text[], $6, $7, $8, $9, $7 < (SELECT epoch FROM kedge.control), $10, $11)
ON CONFLICT (uid) DO UPDATE SET
    epoch = greatest(m.epoch, excluded.epoch),
    at = excluded.at,
    expired = m.expired AND excluded.expired,
    held = excluded.held;

-- name: forget
DELETE FROM kedge.members WHERE expired AND at < $1;

-- name: leave
DELETE FROM kedge.members WHERE uid = $1;

-- name: members
SELECT uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, expired, held, code FROM kedge.members
ORDER BY joined_at, uid;

-- name: count_out
UPDATE kedge.members SET expired = TRUE WHERE uid = ANY($1::text[]) AND epoch < $2;
